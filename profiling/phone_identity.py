"""Which phone it is, by what ``getprop`` says: the device itself, its chip, and whether generated code runs on it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from data.device_spec import DeviceSpec
from data.errors import DeviceError

Properties = Mapping[str, str]

# Where phones tell their chip, the surest first: its name, or a code name of the board.
_CHIPS = (
    "ro.soc.model",
    "ro.hardware.chipname",
    "ro.chipname",
    "ro.mediatek.platform",
    "ro.board.platform",
    "ro.product.board",
    "ro.hardware",
)
_SERIALS = ("ro.serialno", "ro.boot.serialno")
# Wireless debugging: the phone's own serial number stands in the name of the service.
_ANNOUNCED = re.compile(r"adb-(.+)-[^-]+\._adb(?:-tls-connect)?\._tcp\.?")
# Values of an unset serial number.
_NO_SERIAL = {"", "unknown", "0"}
# Instruction sets of the processor, first its own; what translates others.
_ABIS = ("ro.product.cpu.abilist", "ro.product.cpu.abilist64", "ro.product.cpu.abi", "ro.product.cpu.abilist32")
_TRANSLATED, _TRANSLATOR = "ro.dalvik.vm.isa.arm64", "ro.dalvik.vm.native.bridge"
_TRANSLATORS = re.compile("houdini|ndk_translation|berberis")


def own_serial(known: Properties, serial: str) -> str:
    """The phone's own serial number, equal however it is connected; adb's, where the phone hides its own."""
    told = next((known[name] for name in _SERIALS if known.get(name, "") not in _NO_SERIAL), "")
    announced = _ANNOUNCED.fullmatch(serial)
    return told or (announced[1] if announced else serial)


def is_of(spec: DeviceSpec, known: Properties) -> bool:
    """Whether a phone is recognised: of a specification's models, and not known to have another chip."""
    return bool(spec.models) and _has_model(spec, known) and not other_chip(spec, known)


def model_of(known: Properties) -> str:
    """The phone's model, empty where it tells none."""
    return known.get("ro.product.model", "")


def chip_of(known: Properties) -> str:
    """The surest name of the phone's chip, empty where it tells none."""
    return next((known[name] for name in _CHIPS if known.get(name)), "")


def other_chip(spec: DeviceSpec, known: Properties) -> str:
    """The chip that the phone says it has, where it is none of the specification's; a name without a number (``qcom``,
    the code name of a board) decides nothing."""
    told = [known[name] for name in _CHIPS if known.get(name)]
    named = known.get(_CHIPS[0], "")
    if not spec.socs or any(_is_chip(name, spec) for name in ([named] if _is_telling(named) else told)):
        return ""
    return next(filter(_is_telling, told), "")


def refuse_other(spec: DeviceSpec, known: Properties, serial: str) -> None:
    """DeviceError for a phone that is not of a specification's models and chips."""
    chip, fits = other_chip(spec, known), not spec.models or _has_model(spec, known)
    if fits and not chip:
        return
    model = model_of(known) or "phone without a model name"
    what = f"{model} with the chip {chip}" if fits else model
    raise DeviceError(
        f"the phone {serial} is a {what}, not a {spec.title}: "
        "name its own device, or --device attached, or --allow-mismatch to measure it all the same"
    )


def refuse_unfit(known: Properties, serial: str) -> None:
    """DeviceError for a phone that generated code cannot run on, or only in translation."""
    if "arm64" not in known.get("ro.product.cpu.abilist64", ""):
        abis = known.get(_ABIS[0]) or known.get("ro.product.cpu.abi") or "none named"
        raise DeviceError(
            f"the phone {serial} is not a 64-bit ARM device (its instruction sets: {abis}): "
            "no code can be generated for it"
        )
    if processor := _foreign_processor(known):
        raise DeviceError(
            f"the phone {serial} has a processor of another kind ({processor}) and translates ARM code: what it "
            "measured would be the translation"
        )


def _foreign_processor(known: Properties) -> str:
    """The processor's own instruction set where it translates ARM's, else empty."""
    abis = [abi.strip() for name in _ABIS for abi in known.get(name, "").split(",")]
    told = [abi for abi in (*abis, known.get(_TRANSLATED, "")) if abi and not abi.startswith("arm")]
    if not told and _TRANSLATORS.search(known.get(_TRANSLATOR, "")):
        return known[_TRANSLATOR]
    return next(iter(told), "")


def _has_model(spec: DeviceSpec, known: Properties) -> bool:
    return model_of(known).startswith(spec.models)


def _is_telling(name: str) -> bool:
    return any(letter.isdecimal() for letter in name)


def _is_chip(name: str, spec: DeviceSpec) -> bool:
    return _plain(name).startswith(tuple(map(_plain, spec.socs)))


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
