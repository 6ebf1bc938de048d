"""Doubles of a compiled (pybind11) module's classes, whose members and arguments are checked against the real classes.

What a double does is a plain Python object's business; whether it could be asked for it is the real class's.
"""

import inspect
import re
from collections.abc import Mapping

PREFIX = re.compile(r"\b(?:tensorrt_bindings\.)?tensorrt\.")
SIGNATURE = re.compile(r"^(?:\d+\. )?(\w+)\((.*)\) -> (.+)$")
INTEGERS = {
    "int",
    "typing.SupportsInt",
    "SupportsInt",
    "typing.SupportsIndex",
    "typing.SupportsInt | typing.SupportsIndex",
}
BUFFERS = {"buffer", "typing_extensions.Buffer", "collections.abc.Buffer", "Buffer"}


class ContractError(Exception):
    """A call that the real module would refuse."""


class Contract:
    """The real module, what was asked of it, and what it is pretended to lack."""

    def __init__(self, real):
        self.real = real
        self.used = set()
        self.hidden = set()

    def has(self, kind, member):
        return f"{kind}.{member}" not in self.hidden and hasattr(getattr(self.real, kind), member)

    def member(self, kind, name):
        """Return a member of a real class, noting that it was used."""
        if not self.has(kind, name):
            raise AttributeError(f"{kind} of TensorRT {self.real.__version__} has no {name}")
        self.used.add(f"{kind}.{name}")
        for base in getattr(self.real, kind).__mro__:
            if name in vars(base):
                return vars(base)[name]
        raise AssertionError(name)

    def call(self, kind, name, function, arguments, keywords):
        """Check the arguments against every overload, call the behaviour and wrap what it returns."""
        overloads = signatures(getattr(getattr(self.real, kind), name).__doc__)
        errors = []
        for parameters, result in overloads:
            try:
                self.fit(parameters, arguments, keywords)
            except ContractError as error:
                errors.append(str(error))
                continue
            plain = [behaviour_of(value) for value in arguments[1:]]  # the behaviour knows itself
            return self.wrap(result, function(*plain, **{key: behaviour_of(v) for key, v in keywords.items()}))
        raise ContractError(f"{kind}.{name} takes no such arguments: {'; '.join(errors) or 'it has no signature'}")

    def fit(self, parameters, arguments, keywords):
        names = [name for name, _, _ in parameters]
        bound = dict(zip(names, arguments, strict=False)) | keywords
        if len(arguments) > len(names) or set(keywords) - set(names) or set(keywords) & set(names[: len(arguments)]):
            raise ContractError(f"{names} do not take {arguments} and {keywords}")
        for name, kind, has_default in parameters:
            if name not in bound:
                if not has_default:
                    raise ContractError(f"'{name}' is missing")
            elif not self.is_a(bound[name], kind) and not (has_default and bound[name] is None):
                raise ContractError(f"'{name}' is a {kind}, not {type(bound[name]).__name__}")

    def is_a(self, value, kind):
        if kind in INTEGERS:
            return isinstance(value, int) and not isinstance(value, bool)
        if kind in BUFFERS:
            return isinstance(value, bytes | bytearray | memoryview)
        if kind in ("str", "bool", "float", "tuple", "list"):
            return type(value).__name__ == kind
        if kind == "Dims":
            return isinstance(value, tuple | list) and all(self.is_a(size, "int") for size in value)
        wanted = self.real
        for part in kind.split("."):
            wanted = getattr(wanted, part, None)
        if wanted is None:
            raise ContractError(f"the check knows no type {kind}")
        if isinstance(value, Double):
            return issubclass(getattr(self.real, value.kind), wanted)
        return isinstance(value, wanted)

    def callback(self, kind, value, name):
        """Return a method of an object of ours that the real library calls; the real base class must know it so."""
        if not self.has(kind, name):
            raise ContractError(f"{kind} of TensorRT {self.real.__version__} calls no {name}")
        self.used.add(f"{kind}.{name}")
        base = getattr(self.real, kind)
        told = re.search(rf"def {name}\(self, ?(.*?)\)", base.__doc__ or "")
        wanted = (
            [parameter(part) for part in split(told[1])] if told else signatures(getattr(base, name).__doc__)[0][0][1:]
        )
        ours = list(inspect.signature(getattr(type(value), name)).parameters)[1:]
        if ours != [one for one, _, _ in wanted]:
            raise ContractError(f"{kind}.{name} is called with {wanted}, and ours takes {ours}")
        return getattr(value, name)

    def wrap(self, kind, value):
        """Return a behaviour's result as the real signature promises it."""
        if value is None or kind == "IHostMemory":  # the latter is a buffer, and bytes are one
            return value
        if kind in INTEGERS | {"str", "bool", "float"} | BUFFERS:
            if not self.is_a(value, kind):
                raise ContractError(f"the simulation returns {value!r} for {kind}")
            return value
        kind = {"nvonnxparser::IParserError": "ParserError"}.get(kind, kind)
        real = getattr(self.real, kind)
        return value if isinstance(value, real) else Double(self, kind, value)


class Double:
    """Stands for an object of a real class."""

    def __init__(self, contract, kind, behaviour):
        self.__dict__.update(contract=contract, kind=kind, behaviour=behaviour)

    def __getattr__(self, name):
        member = self.contract.member(self.kind, name)
        if isinstance(member, property):
            return getattr(self.behaviour, name)
        function = getattr(self.behaviour, name)
        return lambda *arguments, **keywords: self.contract.call(
            self.kind, name, function, (self, *arguments), keywords
        )

    def __setattr__(self, name, value):
        member = self.contract.member(self.kind, name)
        if not isinstance(member, property) or member.fset is None:
            raise ContractError(f"{self.kind}.{name} cannot be set")
        setattr(self.behaviour, name, behaviour_of(value))


class ClassDouble:
    """Stands for a real class: calling it makes a double, asking for members asks the class."""

    def __init__(self, contract, kind, make):
        self.contract, self.kind, self.make = contract, kind, make

    def __call__(self, *arguments, **keywords):
        self.contract.used.add(self.kind)
        behaviour = object.__new__(self.make)
        double = Double(self.contract, self.kind, behaviour)

        def initialise(*plain, **named):
            behaviour.__init__(*plain, **named)

        self.contract.call(self.kind, "__init__", initialise, (double, *arguments), keywords)
        return double

    def __getattr__(self, name):
        if not self.contract.has(self.kind, name):
            raise AttributeError(name)
        return getattr(getattr(self.contract.real, self.kind), name)


class EnumDouble:
    """Stands for an enumeration, whose members are the real ones."""

    def __init__(self, contract, kind):
        self.contract, self.kind = contract, kind

    def __getattr__(self, name):
        self.contract.member(self.kind, name)
        return getattr(getattr(self.contract.real, self.kind), name)


class ModuleDouble:
    """Stands for the module: some of its classes are doubles, enumerations and base classes are the real ones."""

    def __init__(self, contract, behaviours: Mapping[str, type]):
        self.contract, self.behaviours = contract, behaviours

    def __getattr__(self, name):
        if name in self.contract.hidden or not hasattr(self.contract.real, name):
            raise AttributeError(f"TensorRT {self.contract.real.__version__} has no {name}")
        if not name.startswith("__"):
            self.contract.used.add(name)
        if hasattr(getattr(self.contract.real, name), "__members__"):
            return EnumDouble(self.contract, name)
        if name in self.behaviours:
            return ClassDouble(self.contract, name, self.behaviours[name])
        return getattr(self.contract.real, name)


def behaviour_of(value):
    return value.behaviour if isinstance(value, Double) else value


def signatures(doc):
    """Return ([(name, type, has default)], result type) of every overload that a pybind11 docstring tells of."""
    found = []
    for line in (doc or "").splitlines():
        match = SIGNATURE.match(PREFIX.sub("", line.strip()))
        if match and match[2] != "*args, **kwargs":
            found.append(([parameter(part) for part in split(match[2])], match[3]))
    return found


def parameter(text):
    name, _, rest = text.partition(":")
    kind, equals, _ = rest.partition("=")
    return name.strip(), kind.strip(), bool(equals)


def split(text):
    """Split a parameter list at its outer commas."""
    parts, depth, start = [], 0, 0
    for index, letter in enumerate(text):
        depth += (letter in "[(<") - (letter in "])>")
        if letter == "," and not depth:
            parts.append(text[start:index])
            start = index + 1
    return [part for part in [*parts, text[start:]] if part.strip()]
