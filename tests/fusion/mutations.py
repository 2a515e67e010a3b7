"""Ways to break an ONNX file: each takes a model, or its bytes, and a generator, and leaves it changed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import AttributeProto, NodeProto, TensorProto, helper, numpy_helper

_PLACES = ("absent.bin", "/etc/passwd", "../../../../etc/passwd", "/dev/zero", "", ".", "mutated.onnx")

Generator = np.random.Generator
Mutation = Callable[[onnx.ModelProto, Generator], None]

_HUGE = (1 << 15, 1 << 20, 1 << 31, 1 << 40, (1 << 62) + 1)
_NUMBERS = (-(1 << 40), -7, -2, -1, 0, 1, 2, 3, 5, 64, 1 << 33)
_OPERATORS = (
    "Sin Sigmoid Banana Loop If Attention Softmax LogSoftmax MatMul Add Mul Sub Div Gemm Conv Transpose Reshape Where "
    "Gather GatherND Concat Slice Split ReduceMean ReduceSum LayerNormalization Gelu Erf Tanh Relu Identity Cast Pow "
    "Expand Tile Range NonZero Unique TopK Einsum RandomNormal SequenceConstruct Optional StringNormalizer Shape Size"
).split()


def _node(model: onnx.ModelProto, generator: Generator) -> NodeProto:
    return model.graph.node[int(generator.integers(len(model.graph.node)))]


def _tensor(model: onnx.ModelProto, generator: Generator) -> TensorProto:
    """An initializer, or the value of a ``Constant``."""
    found = list(model.graph.initializer)
    found += [entry.t for node in model.graph.node for entry in node.attribute if entry.type == AttributeProto.TENSOR]
    return found[int(generator.integers(len(found)))] if found else TensorProto()


def _tensor_name(model: onnx.ModelProto, generator: Generator) -> str:
    names = [name for node in model.graph.node for name in node.output]
    names += [tensor.name for tensor in model.graph.initializer] + [value.name for value in model.graph.input]
    return names[int(generator.integers(len(names)))]


def drop_node(model: onnx.ModelProto, generator: Generator) -> None:
    del model.graph.node[int(generator.integers(len(model.graph.node)))]


def duplicate_node(model: onnx.ModelProto, generator: Generator) -> None:
    model.graph.node.insert(int(generator.integers(len(model.graph.node))), _node(model, generator))


def reorder_nodes(model: onnx.ModelProto, generator: Generator) -> None:
    first, second = (int(one) for one in generator.integers(len(model.graph.node), size=2))
    moved = NodeProto()
    moved.CopyFrom(model.graph.node[first])
    del model.graph.node[first]
    model.graph.node.insert(second, moved)


def change_operator(model: onnx.ModelProto, generator: Generator) -> None:
    _node(model, generator).op_type = str(generator.choice(_OPERATORS))


def change_domain(model: onnx.ModelProto, generator: Generator) -> None:
    _node(model, generator).domain = str(generator.choice(["com.microsoft", "ai.onnx", "ai.onnx.ml", "nowhere"]))


def make_cycle(model: onnx.ModelProto, generator: Generator) -> None:
    node = _node(model, generator)
    if node.input:
        node.input[0] = model.graph.node[-1].output[0]


def rewire(model: onnx.ModelProto, generator: Generator) -> None:
    node = _node(model, generator)
    if node.input:
        node.input[int(generator.integers(len(node.input)))] = _tensor_name(model, generator)


def rewire_nearby(model: onnx.ModelProto, generator: Generator) -> None:
    """An input from one of the nodes just before, so that the order still fits."""
    place = int(generator.integers(len(model.graph.node)))
    node = model.graph.node[place]
    near = [name for one in model.graph.node[max(place - 9, 0) : place] for name in one.output]
    if node.input and near:
        node.input[int(generator.integers(len(node.input)))] = str(generator.choice(near))


def swap_inputs(model: onnx.ModelProto, generator: Generator) -> None:
    node = _node(model, generator)
    node.input[:] = list(node.input)[::-1]


def change_input_count(model: onnx.ModelProto, generator: Generator) -> None:
    node = _node(model, generator)
    if node.input and generator.random() < 0.5:
        node.input[int(generator.integers(len(node.input)))] = ""
    elif node.input and generator.random() < 0.5:
        del node.input[-1]
    else:
        node.input.append(_tensor_name(model, generator))


def change_outputs(model: onnx.ModelProto, generator: Generator) -> None:
    node = _node(model, generator)
    choice = int(generator.integers(4))
    if choice == 0:
        node.output.append("extra")
    elif choice == 1 and node.output:
        node.output[0] = ""
    elif choice == 2 and node.output:
        node.output[0] = _tensor_name(model, generator)
    else:
        node.output[:] = ["renamed"]


def change_model_outputs(model: onnx.ModelProto, generator: Generator) -> None:
    output = helper.make_tensor_value_info(_tensor_name(model, generator), TensorProto.FLOAT, None)
    if generator.random() < 0.5:
        del model.graph.output[:]
    if generator.random() < 0.8:
        model.graph.output.extend([output] * int(generator.integers(1, 3)))


def change_model_inputs(model: onnx.ModelProto, generator: Generator) -> None:
    value = model.graph.input[int(generator.integers(len(model.graph.input)))]
    choice = int(generator.integers(6))
    if choice == 0:
        value.name = str(generator.choice(["pixels", "input_ids", ""]))
    elif choice == 1:
        value.type.tensor_type.elem_type = int(generator.integers(-1, 30))
    elif choice == 2:
        value.type.tensor_type.shape.dim.add().dim_value = int(generator.choice(_NUMBERS))
    elif choice == 3 and value.type.tensor_type.shape.dim:
        value.type.tensor_type.shape.dim[0].dim_value = int(generator.choice(_NUMBERS))
    elif choice == 4:
        value.type.Clear()
    else:
        model.graph.input.remove(value)


def change_attribute(model: onnx.ModelProto, generator: Generator) -> None:
    nodes = [node for node in model.graph.node if node.attribute and node.op_type != "Constant"]
    if not nodes:
        return
    node = nodes[int(generator.integers(len(nodes)))]
    entry = node.attribute[int(generator.integers(len(node.attribute)))]
    choice = int(generator.integers(5))
    if choice == 0:
        node.attribute.remove(entry)
    elif entry.type == AttributeProto.INT and choice < 4:
        entry.i = int(generator.choice(_NUMBERS))
    elif entry.type == AttributeProto.FLOAT and choice < 4:
        entry.f = float(generator.choice([-1.0, 0.0, 1e-3, 1e30, np.nan, np.inf]))
    elif entry.type == AttributeProto.INTS and choice < 4 and entry.ints:
        if choice == 1:
            generator.shuffle(shuffled := list(entry.ints))
            entry.ints[:] = shuffled
        else:
            entry.ints[int(generator.integers(len(entry.ints)))] = int(generator.choice(_NUMBERS))
    elif entry.type == AttributeProto.STRING and choice < 4:
        entry.s = bytes(generator.integers(0, 256, 4, np.uint8))
    else:
        entry.type = int(generator.integers(0, 15))


def add_attribute(model: onnx.ModelProto, generator: Generator) -> None:
    name = str(generator.choice("axis perm epsilon keepdims axes alpha beta transA transB to mode approximate".split()))
    number = int(generator.choice(_NUMBERS))
    value: object = [number, float(number), [number, 0], "tanh"][int(generator.integers(4))]
    _node(model, generator).attribute.append(helper.make_attribute(name, value))


def change_element_type(model: onnx.ModelProto, generator: Generator) -> None:
    _tensor(model, generator).data_type = int(generator.integers(0, 27))


def convert_tensor(model: onnx.ModelProto, generator: Generator) -> None:
    """Another element type, with the data converted to it."""
    tensor = _tensor(model, generator)
    dtype = str(generator.choice(["float16", "float64", "int32", "int64", "bool", "uint8"]))
    with np.errstate(all="ignore"):
        _replace(tensor, numpy_helper.to_array(tensor).astype(dtype))


def reshape_tensor(model: onnx.ModelProto, generator: Generator) -> None:
    tensor = _tensor(model, generator)
    choice = int(generator.integers(4))
    if choice == 0:
        tensor.dims[:] = [3, 7]
    elif choice == 1:
        tensor.dims[:] = [int(size) for size in generator.choice(_HUGE, 2)]
    elif choice == 2:
        tensor.dims[:] = [int(size) for size in generator.choice(_NUMBERS, 2)]
    else:
        tensor.dims[:] = [1, *tensor.dims] if generator.random() < 0.5 else list(tensor.dims)[::-1]


def change_values(model: onnx.ModelProto, generator: Generator) -> None:
    tensor = _tensor(model, generator)
    array = numpy_helper.to_array(tensor).copy()
    if not array.size:
        return
    place = int(generator.integers(array.size))
    if array.dtype.kind == "f":
        array.reshape(-1)[place] = generator.choice([np.nan, np.inf, -np.inf, 0, 1, 1e30])
    elif array.dtype == np.int64:
        array.reshape(-1)[place] = generator.choice((*_NUMBERS, *_HUGE))
    _replace(tensor, array)


def _replace(tensor: TensorProto, array: np.ndarray) -> None:
    name = tensor.name
    tensor.CopyFrom(numpy_helper.from_array(array, name))


def external_data(model: onnx.ModelProto, generator: Generator) -> None:
    """A tensor whose data lies elsewhere: absent, outside the folder, a device."""
    tensor = _tensor(model, generator)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    place = str(
        generator.choice(["absent.bin", "/etc/passwd", "../../../../etc/passwd", "/dev/zero", "", ".", "mutated.onnx"])
    )
    entries = {
        "location": place,
        "offset": str(int(generator.choice(_NUMBERS))),
        "length": str(generator.choice(_HUGE)),
    }
    for key, value in entries.items():
        if key == "location" or generator.random() < 0.4:
            tensor.external_data.add(key=key, value=value)


def inner_graph(model: onnx.ModelProto, generator: Generator) -> None:
    """A condition with graphs inside, one of them the model's own."""
    node = _node(model, generator)
    node.op_type = str(generator.choice(["If", "Loop", "Scan"]))
    inner = onnx.GraphProto()
    inner.node.extend(model.graph.node[:5])
    inner.output.extend(model.graph.output)
    node.attribute.append(helper.make_attribute("then_branch", inner))
    node.attribute.append(helper.make_attribute("else_branch", inner))


def huge_node(model: onnx.ModelProto, generator: Generator) -> None:
    """A constant, or an activation, of gigabytes."""
    sizes = [int(size) for size in generator.choice([7, *_HUGE], int(generator.integers(1, 4)))]
    model.graph.initializer.append(numpy_helper.from_array(np.array(sizes, np.int64), "huge"))
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((1,), np.float32), "seed"))
    model.graph.initializer.extend(
        numpy_helper.from_array(np.array(value, np.int64), name)
        for name, value in (("start", 0), ("step", int(generator.choice([1, -1, 0]))), ("limit", sizes[0]))
    )
    place = int(generator.integers(1, len(model.graph.node)))
    source = str(generator.choice(["seed", model.graph.node[place - 1].output[0]]))
    made = {
        "Expand": [source, "huge"],
        "Tile": [source, "huge"],
        "ConstantOfShape": ["huge"],
        "Range": ["start", "limit", "step"],
        "Pad": [source, "huge"],
        "Reshape": [source, "huge"],
        "OneHot": ["huge", "limit", "huge"],
        "EyeLike": ["seed"],
    }
    kind = str(generator.choice(list(made)))
    for count in range(int(generator.choice([1, 1, 30]))):
        model.graph.node.insert(place, helper.make_node(kind, made[kind], [f"vast{count}"]))
    if generator.random() < 0.5 and model.graph.node[-1].input:
        model.graph.node[-1].input[0] = "vast0"


def change_opset(model: onnx.ModelProto, generator: Generator) -> None:
    choice = int(generator.integers(3))
    if choice == 0:
        del model.opset_import[:]
    elif choice == 1:
        model.opset_import[0].version = int(generator.choice([-1, 0, 1, 6, 9, 11, 12, 13, 15, 21, 24, 99, 1 << 40]))
    else:
        model.opset_import.append(helper.make_opsetid("", 11))


def local_function(model: onnx.ModelProto, generator: Generator) -> None:
    """A function of the file's own, sound or calling itself."""
    node = _node(model, generator)
    node.op_type, node.domain = "Own", "own"
    kind, domain = ("Own", "own") if generator.random() < 0.5 else ("Identity", "")
    body = [helper.make_node(kind, ["a"], ["b"], domain=domain)]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model.functions.append(helper.make_function("own", "Own", ["a"], ["b"], body, opsets))
    model.opset_import.append(helper.make_opsetid("own", 1))


MUTATIONS: tuple[Mutation, ...] = (
    add_attribute,
    change_attribute,
    change_domain,
    change_element_type,
    change_input_count,
    change_model_inputs,
    change_model_outputs,
    change_operator,
    change_opset,
    change_outputs,
    change_values,
    convert_tensor,
    drop_node,
    duplicate_node,
    external_data,
    huge_node,
    inner_graph,
    local_function,
    make_cycle,
    reorder_nodes,
    reshape_tensor,
    rewire,
    rewire_nearby,
    swap_inputs,
)


def damaged(data: bytes, generator: Generator) -> bytes:
    """Bytes cut off, changed, moved or repeated."""
    array = bytearray(data)
    choice = int(generator.integers(4))
    if choice == 0:
        return bytes(array[: int(generator.integers(len(array)))])
    if choice == 1:
        first, last = sorted(int(one) for one in generator.integers(len(array), size=2))
        return bytes(array[:first] + array[last:] if generator.random() < 0.5 else array[:last] + array[first:])
    for _ in range(int(generator.integers(1, 20))):
        array[int(generator.integers(len(array)))] = int(generator.integers(256))
    return bytes(array)


def mutated(data: bytes, seed: int) -> bytes:
    """The bytes of a model changed in one to three ways, or damaged as bytes; the seed decides."""
    generator = np.random.default_rng(seed)
    if seed % 5 == 0:
        return damaged(data, generator)
    model = onnx.ModelProto.FromString(data)
    for _ in range(int(generator.integers(1, 4))):
        mutation = MUTATIONS[int(generator.integers(len(MUTATIONS)))]
        try:
            mutation(model, generator)
        except (ValueError, TypeError, KeyError, IndexError):
            continue  # an earlier mutation left nothing for this one to change
    return model.SerializeToString()
