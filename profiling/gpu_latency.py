"""How long a phone's GPU takes for a block, kernel by kernel: launches, tiles, bytes.

The kernels are those that the compiler makes for GPUs of the phone's family. Each launch takes

    launch_us + max(computing / gpu_efficiency,
                    bytes of weights / memory bandwidth + bytes of activations / gpu_activation_gbps)

where computing is the longer of arithmetic at the peak and of bytes through the caches. Work-items that only fill up a
group take their time like others, and so do lanes for which there are none. A product that stores its result as it is
(only plans without fusion have such) computes at a share of that speed, ``gpu_raw_product``. These three constants are
fitted (``tests/benchmarks/table2.py``); all else is what is known of the GPU, from ``data/devices/*.toml``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from data.device_spec import Analytic, Gpu

if TYPE_CHECKING:
    from fusion.block import Block
    from fusion.emit.opencl.work import Launch

_MS_PER_S = 1e3


def gpu_block_ms(block: Block, gpu: Gpu, analytic: Analytic) -> float:
    """Time of one block without noise, milliseconds."""
    return sum(launch_ms(launch, gpu, analytic) for launch in _launches(block, gpu.name, gpu.image_texels))


def launch_ms(launch: Launch, gpu: Gpu, analytic: Analytic) -> float:
    """Time of one launch among others that are queued, milliseconds."""
    efficiency = analytic.gpu_efficiency * (analytic.gpu_raw_product if launch.raw else 1.0)
    weights_s = launch.weight_bytes / (gpu.memory_gbps * 1e9)
    activations_s = launch.activation_bytes / (analytic.gpu_activation_gbps * 1e9)
    working_s = max(_computing_s(launch, gpu) / efficiency, weights_s + activations_s)
    return gpu.launch_us / 1e3 + working_s * _MS_PER_S


def _computing_s(launch: Launch, gpu: Gpu) -> float:
    """Seconds at the rates of the data sheet."""
    arithmetic = launch.flops / (gpu.fp32_gflops * 1e9)
    moving = launch.image_bytes / (gpu.image_gbps * 1e9) + launch.buffer_bytes / (gpu.buffer_gbps * 1e9)
    return max(launch.items, gpu.lanes) * max(arithmetic, moving)


# Sessions, plans and searches ask for the same blocks again and again; kernels are text, and take longer to make.
@lru_cache(maxsize=1 << 16)
def _launches(block: Block, gpu_name: str, texels: int) -> tuple[Launch, ...]:
    from fusion.emit.opencl.family import family_of
    from fusion.emit.opencl.program import OpenClEmitter
    from fusion.emit.opencl.work import launches_of

    return launches_of(block, OpenClEmitter(family_of(gpu_name), texels))
