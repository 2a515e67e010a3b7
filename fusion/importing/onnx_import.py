"""ONNX to the operator graph: shapes fixed, everything that does not depend on the ids folded to constants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference

from data.errors import DataFileError, ModelError, UnsupportedOperatorError, first_line
from fusion.graph import Attribute, Graph, Operator, TensorType
from fusion.importing.causes import check_architecture
from fusion.importing.evaluation import (
    INFERENCE_ERRORS,
    OutsideTableError,
    constant_array,
    describe,
    evaluate_node,
    type_proto,
)
from fusion.importing.expansion import Expansion, chosen_branch
from fusion.importing.expansion_list import check_known, domain_of, expansion_of
from fusion.importing.id_functions import replace_id_functions
from fusion.importing.input_names import MASK, name_inputs
from fusion.importing.key_mask import replace_key_masks
from fusion.importing.node_check import check_node
from fusion.importing.onnx_nodes import all_reads
from fusion.importing.preparation import load_onnx
from fusion.importing.quantisation.removal import without_quantisation
from fusion.importing.several_outputs import operators_of
from fusion.importing.tables import beyond_table, check_cut, check_lookups
from fusion.labels import LOGITS, labels_of

_MAX_ELEMENTS = 1 << 28
# Folded constants may take this much beyond three times the weights of the file.
_MAX_FOLDED_BYTES = 1 << 28
_KNOWN_VALUES = 64
_ID_TYPES = ("int64", "int32")
_MASK_TYPES = (*_ID_TYPES, "float32", "bool", "int8", "uint8")
# Operators for which ONNX infers shapes only since a later opset than the one that brought them, and operators that
# exporters write into files of opsets before them.
_INFERRED_SINCE = {"GreaterOrEqual": 16, "LessOrEqual": 16, "LayerNormalization": 17, "Gelu": 20} | dict.fromkeys(
    ("DequantizeLinear", "QuantizeLinear"), 13
)
# Operators whose outputs behind the first may be left out.
_OPTIONAL_OUTPUTS = frozenset(
    "Attention Dropout EmbedLayerNormalization LayerNormalization MultiHeadAttention SkipLayerNormalization".split()
)

_PRODUCTS = ("MatMul", "Gemm")
# Before opset 13 these took all axes from theirs on as one.
_FLATTENED_BEFORE_13 = ("Softmax", "LogSoftmax")


def import_onnx(path: Path | str, seq_len: int, rename: Mapping[str, str] = MappingProxyType({})) -> Graph:
    """The operator graph of an ONNX file at batch 1 and a fixed sequence length; ``rename`` gives inputs our names.

    Inputs are int64 in the graph, whatever the file says; the mask has become ``key_bias`` and ``key_keep``
    operators, functions of the ids ``position_ids``. Of a file with quantised activations the graph is in fp32, with
    the file's weights, and says so (``quantised_bits``), and which of its products the file left in fp32.

    Raises:
        DataFileError: the file cannot be read as ONNX, or its metadata do not name its labels as they should.
        InputError: ``rename`` does not fit the file's inputs, or the sequence is longer than the model's positions.
        ModelError: shapes do not fit, or are too large, or it is not sure what an input is.
        UnsupportedOperatorError: an operator whose shapes ONNX itself does not know, or that uses ids or mask
            in a way that is not supported.
    """
    try:
        model = load_onnx(Path(path))
        names = name_inputs(model, rename)
        source_operators = sum(node.op_type != "Constant" for node in model.graph.node)
        quantised_bits = without_quantisation(model)
        importer = _Importer(model, seq_len)
        for node in model.graph.node:
            importer.add(node)
        del model.graph.node[:]
        model.graph.node.extend(importer.nodes)
        imported = importer.graph()
        check_architecture(imported)
        graph = replace_id_functions(replace_key_masks(imported, model), model)
    except OutsideTableError as error:
        raise beyond_table(error, seq_len) from error
    except UnicodeDecodeError as error:  # protobuf decodes names only when they are read
        raise DataFileError(path, "holds a name that is no UTF-8: the file is damaged") from error
    check_lookups(graph, seq_len)
    whole = {name: replace(graph.types[name], dtype="int64") for name in graph.inputs}
    types = dict(graph.types) | whole
    labels = labels_of(model, Path(path), types[LOGITS].columns if LOGITS in graph.outputs else None)
    return replace(
        graph,
        types=types,
        source_operators=source_operators,
        renamed_inputs=names.renamed,
        unread_inputs=names.unread,
        labels=labels,
        quantised_bits=quantised_bits,
        fp32_products=tuple(name for name, whole in importer.products.items() if quantised_bits and not whole),
    )


@dataclass
class _Importer:
    """Goes through the nodes in order, keeping constants and types."""

    model: onnx.ModelProto
    seq_len: int
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    types: dict[str, TensorType] = field(default_factory=dict)
    operators: list[Operator] = field(default_factory=list)
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    schemas: dict[tuple[str, str], onnx.defs.OpSchema] = field(default_factory=dict)
    lengths: set[str] = field(default_factory=set)  # constants that were computed from shapes
    dequantised: set[str] = field(default_factory=set)  # constants that were computed from whole numbers and scales
    products: dict[str, bool] = field(default_factory=dict)  # with weights, by name: whether these are dequantised

    def __post_init__(self) -> None:
        self.imports = list(self.model.opset_import)
        self.read = all_reads(self.model.graph)
        self.opsets = {domain_of(entry.domain): entry.version for entry in self.imports}
        for tensor in self.model.graph.initializer:
            if tensor.name in self.constants:
                raise ModelError(f"initializer {tensor.name!r} is there twice")
            self._constant(tensor.name, constant_array(tensor))
        self.folded_bytes_left = _MAX_FOLDED_BYTES + 3 * sum(value.nbytes for value in self.constants.values())
        inputs = [value for value in self.model.graph.input if value.name not in self.constants]
        self.inputs = tuple(value.name for value in inputs)
        for value in inputs:
            self.types[value.name] = _input_type(value, self.seq_len)

    def graph(self) -> Graph:
        outputs = tuple(value.name for value in self.model.graph.output)
        missing = [name for name in outputs if name not in self.types]
        if missing or not outputs:
            raise ModelError(f"output {missing[0]!r} is never made" if missing else "the model has no output")
        return Graph(self.inputs, outputs, tuple(self.operators), self.types, self.constants)

    def add(self, node: onnx.NodeProto) -> None:
        """Adds a node, or those that it stands for."""
        for name in node.input:
            if name and name not in self.types:
                raise ModelError(f"{describe(node)}: {name!r} is read before it is made")
        check_known(node)
        if node.op_type == "If" and node.input and node.input[0] in self.constants:
            self._add_branch(node)
            return
        node = self._with_read_outputs(node)
        expand = expansion_of(node)
        if expand is None:
            self._add_one(node)
            return
        expansion = Expansion(node, self.types, self.constants)
        try:
            expand(expansion)
        except (LookupError, ValueError, ArithmeticError) as error:
            raise ModelError(f"{describe(node)}: operands or attributes do not fit ({first_line(error)})") from error
        whole = not self.dequantised.isdisjoint(node.input)
        for made in expansion.nodes:
            self._add_one(made)
            if whole and made.op_type == "Constant":
                self.dequantised.update(made.output)

    def _add_branch(self, node: onnx.NodeProto) -> None:
        """The branch that a constant condition chooses, in place of the node."""
        for tensor, inner in chosen_branch(node, self.constants[node.input[0]]):
            if inner is not None:
                self.add(inner)
            elif tensor.name in self.types:
                raise ModelError(f"{describe(node)}: {tensor.name!r} is made twice")
            else:
                self._constant(tensor.name, constant_array(tensor))

    def _with_read_outputs(self, node: onnx.NodeProto) -> onnx.NodeProto:
        """The node without outputs behind its first that nothing reads, such as the mask of a dropout."""
        if len(node.output) < 2 or node.op_type not in _OPTIONAL_OUTPUTS or set(node.output[1:]) <= self.read:
            return node
        kept = onnx.NodeProto.FromString(node.SerializeToString())
        kept.output[1:] = [name if name in self.read else "" for name in node.output[1:]]
        while len(kept.output) > 1 and not kept.output[-1]:
            kept.output.pop()
        return kept

    def _add_one(self, node: onnx.NodeProto) -> None:
        """Folds a node to constants, or adds its operator."""
        self.nodes.append(node)
        schema = self._schema(node)
        check_node(node, schema, self.types)
        known = all(name in self.constants or not name for name in node.input)
        # The shape of what is found among constants is known only once it is found.
        shapes = {} if known and node.op_type == "NonZero" else self._shapes(node, schema)
        for name, type_ in shapes.items():
            if name in self.types:
                raise ModelError(f"{describe(node)}: {name!r} is made twice")
            if type_.rows * type_.columns > _MAX_ELEMENTS:
                raise ModelError(f"{describe(node)}: {name!r} of shape {list(type_.shape)} is too large")
        if node.op_type == "Shape":
            self._constant(node.output[0], _shape_value(node, self.types[node.input[0]]))
            self.lengths.add(node.output[0])
        elif known:
            self._fold(node, shapes)
        else:
            self._operator(node, schema, shapes)

    def _fold(self, node: onnx.NodeProto, shapes: Mapping[str, TensorType]) -> None:
        check_cut(node, self.constants, self.lengths, self.seq_len)
        if not self.lengths.isdisjoint(node.input):
            self.lengths.update(node.output)
        if node.op_type == "DequantizeLinear" or not self.dequantised.isdisjoint(node.input):
            self.dequantised.update(node.output)
        for name, value in zip(
            (name for name in node.output if name),
            evaluate_node(node, self.constants, {**self.types, **shapes}, self.imports),
            strict=False,
        ):
            self.folded_bytes_left -= value.nbytes
            if self.folded_bytes_left < 0:
                raise ModelError(f"{describe(node)}: too many bytes of constants are computed")
            self._constant(name, value)

    def _operator(self, node: onnx.NodeProto, schema: onnx.defs.OpSchema, shapes: Mapping[str, TensorType]) -> None:
        used = [name for name in node.output if name]
        values = {entry.name: _attribute(node, entry) for entry in node.attribute}
        for name, entry in schema.attributes.items():
            if name not in values and entry.default_value.name:
                values[name] = _attribute(node, entry.default_value)
        if node.op_type in _FLATTENED_BEFORE_13 and schema.since_version < 13:
            values["flattened"] = 1
        attributes = tuple(sorted(values.items()))
        several = operators_of(node, shapes, attributes)
        if several is None and (len(used) != 1 or node.output[0] != used[0]):
            shape = [list(shapes[name].shape) for name in used]
            raise UnsupportedOperatorError(f"{describe(node)}: outputs {shape}; only the first output is supported")
        if several is None:
            name = self._product(node) if self._has_weights(node) else node.name
            several = [Operator(node.op_type.lower(), tuple(node.input), used[0], attributes, name)]
        self.types.update((operator.output, shapes[operator.output]) for operator in several)
        self.operators.extend(several)

    def _has_weights(self, node: onnx.NodeProto) -> bool:
        return node.op_type in _PRODUCTS and node.input[1] in self.constants

    def _product(self, node: onnx.NodeProto) -> str:
        """Takes note of a product with weights, under a name that no other has: the node's, if it has one."""
        name = node.name if node.name and node.name not in self.products else node.output[0]
        self.products[name] = node.input[1] in self.dequantised
        return name

    def _constant(self, name: str, value: np.ndarray) -> None:
        self.constants[name] = value
        self.types[name] = TensorType(tuple(int(size) for size in value.shape), str(value.dtype))

    def _schema(self, node: onnx.NodeProto) -> onnx.defs.OpSchema:
        key = (domain_of(node.domain), node.op_type)
        if key not in self.schemas:
            version = self.opsets.get(key[0], 0)
            since = max(version, _INFERRED_SINCE.get(node.op_type, 0) if not key[0] else 0)
            try:
                self.schemas[key] = onnx.defs.get_schema(node.op_type, since, key[0])
            except (onnx.defs.SchemaError, TypeError) as error:  # no version at all, or one beyond 32 bits
                where = f"ONNX opset {version}" + (f" of domain {key[0]}" if key[0] else "")
                raise UnsupportedOperatorError(f"{describe(node)}: unknown to {where}") from error
        return self.schemas[key]

    def _shapes(self, node: onnx.NodeProto, schema: onnx.defs.OpSchema) -> dict[str, TensorType]:
        """Types of a node's outputs, from ONNX's own inference with all known values."""
        types = {name: type_proto(self.types[name]) for name in node.input if name}
        data = {
            name: numpy_helper.from_array(self.constants[name], name)
            for name in node.input
            if name in self.constants and self.constants[name].size <= _KNOWN_VALUES
        }
        try:
            inferred = shape_inference.infer_node_outputs(schema, node, types, data, opset_imports=self.imports)
        except INFERENCE_ERRORS as error:
            raise ModelError(f"{describe(node)}: {first_line(error)}") from error
        return {name: _tensor_type(node, name, type_) for name, type_ in inferred.items() if name}


def _input_type(value: onnx.ValueInfoProto, seq_len: int) -> TensorType:
    """int32 or int64 [1, seq_len], when that is what the file can take."""
    tensor = value.type.tensor_type
    allowed = _MASK_TYPES if value.name == MASK else _ID_TYPES
    names = {helper.np_dtype_to_tensor_dtype(np.dtype(name)): name for name in allowed}
    if tensor.elem_type not in names:
        raise ModelError(f"input {value.name!r} is not of the type {' or '.join(allowed)}")
    if tensor.HasField("shape"):
        fixed = [size.dim_value if size.HasField("dim_value") else None for size in tensor.shape.dim]
        if len(fixed) != 2 or any(size not in (None, want) for size, want in zip(fixed, (1, seq_len), strict=True)):
            shape = [size.dim_param or size.dim_value for size in tensor.shape.dim]
            raise ModelError(
                f"input {value.name!r} is of shape {shape}, not [1, {seq_len}] (batch, sequence length); "
                "export it at that shape, or with free axes"
            )
    return TensorType((1, seq_len), names[tensor.elem_type])


def _shape_value(node: onnx.NodeProto, type_: TensorType) -> np.ndarray:
    bounds = {entry.name: entry.i for entry in node.attribute}
    return np.array(type_.shape[bounds.get("start", 0) : bounds.get("end")], dtype=np.int64)


def _attribute(node: onnx.NodeProto, entry: onnx.AttributeProto) -> Attribute:
    try:
        value = helper.get_attribute_value(entry)
    except ValueError as error:
        raise ModelError(f"{describe(node)}: {first_line(error)}") from error
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, int | float):
        return value
    if isinstance(value, list | tuple) and all(isinstance(item, int) for item in value):
        return tuple(value)
    raise UnsupportedOperatorError(f"{describe(node)}: attribute {entry.name!r} of an unsupported type")


def _tensor_type(node: onnx.NodeProto, name: str, type_: onnx.TypeProto) -> TensorType:
    tensor = type_.tensor_type
    if not tensor.HasField("shape") or any(not size.HasField("dim_value") for size in tensor.shape.dim):
        raise ModelError(f"{describe(node)}: the shape of {name!r} cannot be known before the model runs")
    shape = tuple(size.dim_value for size in tensor.shape.dim)
    if any(size < 0 for size in shape):
        raise ModelError(f"{describe(node)}: {name!r} has the shape {list(shape)}")
    return TensorType(shape, str(helper.tensor_dtype_to_np_dtype(tensor.elem_type)))
