"""The installed diffusers as text: its import tables, classes and signatures, read without importing it or torch.

A whole-tree parse takes seconds, so a class is cut out of its file by its indentation and only what is asked for (an
import table, a call signature, a dataclass) goes through `ast`.
"""

import ast
import re
from functools import cached_property
from importlib.machinery import PathFinder
from pathlib import Path

from strands_diffusers.errors import MissingPackageError
from strands_diffusers.pipelines import import_tables

_TOP_LEVEL = re.compile(r"\n(?=[^\s)\]}#])")
_NAME = re.compile(r"\w+")
_MEMBER = re.compile(r"\n    (?=[^\s)\]}#])")
_IMPORT = re.compile(r"^from\s+(\.+|diffusers\b)\.?([\w.]*)\s+import\s+(\([^)]*\)|[^\n]*)", re.MULTILINE)


class ClassSource:
    """A class as text: where it is, and the lines from `class` to the end of its body."""

    def __init__(self, name: str, path: Path, text: str) -> None:
        self.name = name
        self.path = path
        self.text = text

    @cached_property
    def bases(self) -> tuple[str, ...]:
        """Names of the base classes, without their modules."""
        head = re.match(r"class \w+(?:\(([^)]*)\))?:", self.text)
        named = head[1] if head and head[1] else ""
        return tuple(
            base.split("=")[0].strip().rpartition(".")[2]
            for base in named.split(",")
            if base.strip() and "=" not in base
        )

    def method(self, name: str) -> str | None:
        """Source of the method `name`, dedented, decorators left out; None where the class does not define it."""
        start = self.text.find(f"\n    def {name}(")
        if start < 0:
            return None
        return _block(self.text, start + 5, _MEMBER).replace("\n    ", "\n")

    @cached_property
    def tree(self) -> ast.ClassDef:
        """The class as a syntax tree."""
        node = ast.parse(self.text).body[0]
        assert isinstance(node, ast.ClassDef)
        return node

    def constant(self, name: str) -> str | None:
        """The string that the class assigns to `name`, or None."""
        if name not in self.text:
            return None
        found = re.search(rf"^    {name}\s*=\s*[\"'](\w+)[\"']", self.text, re.MULTILINE)
        return found[1] if found else None


def _block(text: str, start: int, border: re.Pattern[str]) -> str:
    """The text from `start` to the next line that `border` finds outside of a triple-quoted string."""
    place = start
    while found := border.search(text, place):
        block = text[start : found.start() + 1]
        if block.count('"""') % 2 == 0 and block.count("'''") % 2 == 0:
            return block
        place = found.end()
    return text[start:]


class Sources:
    """The tree of one diffusers package. Reads each file once; holds no state that outlives its files."""

    def __init__(self, root: Path | None = None) -> None:
        """Read the package at `root`; None: the diffusers that `import diffusers` would find."""
        self.root = installed() if root is None else Path(root)
        self._bytes: dict[Path, bytes] = {}
        self._texts: dict[Path, str] = {}
        self._classes: dict[tuple[Path, str], ClassSource | None] = {}
        self._tables: dict[Path, dict[str, list[str]]] = {}
        self._homes: dict[Path, Path | dict[str, str]] = {}
        self._methods: dict[tuple[Path, str, str], tuple[ClassSource, str] | None] = {}
        self._imported_names: dict[Path, list[tuple[str, str, frozenset[str]]]] = {}

    @cached_property
    def version(self) -> str:
        """`__version__` of the tree."""
        found = re.search(r"^__version__ = [\"']([^\"']+)", self.text(self.root / "__init__.py"), re.MULTILINE)
        return found[1] if found else "unknown"

    def text(self, path: Path) -> str:
        """The file's text; an empty string where there is no such file."""
        if path not in self._texts:
            self.mentions(path, ())
            self._texts[path] = self._bytes[path].decode("utf-8", "replace")
        return self._texts[path]

    def mentions(self, path: Path, words: tuple[bytes, ...]) -> bool:
        """Whether the file has any of the words; most files are asked this once and never decoded."""
        if path not in self._bytes:
            try:
                self._bytes[path] = path.read_bytes()
            except OSError:
                self._bytes[path] = b""
        content = self._bytes[path]
        return any(word in content for word in words)

    def table(self, init: Path) -> dict[str, list[str]]:
        """The literal part of `_import_structure` in an `__init__.py`: submodule -> public names of all branches."""
        if init not in self._tables:
            self._tables[init] = import_tables.read(self.text(init))
        return self._tables[init]

    @cached_property
    def public(self) -> dict[str, str]:
        """Every public name of the package -> the submodule that exports it (`pipelines`, `models`, ...)."""
        table = self.table(self.root / "__init__.py")
        return {name: group for group, names in table.items() for name in names if not name.startswith("_")}

    def locate(self, name: str) -> ClassSource | None:
        """Find a public class by following the import tables down to its file."""
        group = self.public.get(name)
        return self._descend(self.root, group, name) if group else None

    def file_of(self, name: str) -> Path | None:
        """The file that the import tables lead to for a public name; None where they end in a package."""
        group = self.public.get(name)
        home = self._follow(self.root, group, name) if group else None
        return home if isinstance(home, Path) and home.suffix else None

    def _descend(self, folder: Path, module: str, name: str) -> ClassSource | None:
        """The class `name` that the package or file `module` of `folder` exports."""
        place = self._follow(folder, module, name)
        if place.suffix:
            return self.find(name, place)
        exported = self.find(name, place / "__init__.py")  # a package without a table imports its names plainly
        return exported or next(filter(None, (self.find(name, path) for path in sorted(place.glob("*.py")))), None)

    def _follow(self, folder: Path, module: str, name: str) -> Path:
        """The file that exports `name`, or the package where the tables lose its track."""
        place = folder.joinpath(*module.split("."))
        if place not in self._homes:
            self._homes[place] = self._home(place)
        home = self._homes[place]
        if isinstance(home, Path):
            return home
        return self._follow(place, home[name], name) if name in home else place

    def _home(self, place: Path) -> Path | dict[str, str]:
        """The file of a module; of a package, which of its submodules exports each name."""
        if not place.is_dir():
            return place.with_suffix(".py")
        return {name: module for module, names in self.table(place / "__init__.py").items() for name in names}

    def find(self, name: str, path: Path) -> ClassSource | None:
        """The class `name` as the module at `path` defines or imports it; None where it does neither."""
        key = (path, name)
        if key not in self._classes:
            self._classes[key] = None  # an import cycle ends here
            self._classes[key] = self._cut(name, path) or self._imported(name, path)
        return self._classes[key]

    def _cut(self, name: str, path: Path) -> ClassSource | None:
        text = self.text(path)
        start = max(text.find(f"\nclass {name}("), text.find(f"\nclass {name}:")) + 1
        if start == 0 and not text.startswith((f"class {name}(", f"class {name}:")):
            return None
        return ClassSource(name, path, _block(text, start, _TOP_LEVEL))

    def _imported(self, name: str, path: Path) -> ClassSource | None:
        for dots, module, names in self._imports(path):
            if name not in names:
                continue
            folder = self.root if dots == "diffusers" else path.parents[len(dots) - 1]
            place = folder.joinpath(*filter(None, module.split(".")))
            if place.is_dir():
                return self._descend(place.parent, place.name, name)
            return self.find(name, place.with_suffix(".py"))
        return None

    def _imports(self, path: Path) -> list[tuple[str, str, frozenset[str]]]:
        """What the module at `path` imports from diffusers: (dots or `diffusers`, module, names)."""
        if path not in self._imported_names:
            head, _, _ = self.text(path).partition("\nclass ")
            found = _IMPORT.findall(head)
            self._imported_names[path] = [
                (dots, module, frozenset(_NAME.findall(names))) for dots, module, names in found
            ]
        return self._imported_names[path]

    def inherited(self, source: ClassSource, method: str) -> tuple[ClassSource, str] | None:
        """The method's source and the class that defines it: `source` itself, or the first of its bases that does."""
        key = (source.path, source.name, method)
        if key not in self._methods:
            self._methods[key] = self._inherited(source, method)
        return self._methods[key]

    def _inherited(self, source: ClassSource, method: str) -> tuple[ClassSource, str] | None:
        own = source.method(method)
        if own is not None:
            return source, own
        parents = (self.find(base, source.path) for base in source.bases)
        return next(
            filter(None, (self.inherited(parent, method) for parent in parents if parent and parent is not source)),
            None,
        )

    def descends(self, source: ClassSource, base: str) -> bool:
        """Whether a class of that name is among the bases of `source`, however far up."""
        if base in source.bases:
            return True
        parents = (self.find(name, source.path) for name in source.bases)
        return any(self.descends(parent, base) for parent in parents if parent and parent is not source)

    def fields(self, source: ClassSource) -> dict[str, str]:
        """Annotated fields of a dataclass and its bases: name -> annotation, in their order."""
        found: dict[str, str] = {}
        for base in source.bases:
            parent = self.find(base, source.path)
            if parent and parent is not source:
                found |= self.fields(parent)
        own = [
            node for node in source.tree.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        ]
        return found | {
            node.target.id: ast.unparse(node.annotation) for node in own if isinstance(node.target, ast.Name)
        }


def installed() -> Path:
    """Folder of the installed diffusers, found without importing it. Raises: `MissingPackageError`."""
    spec = PathFinder.find_spec("diffusers")
    if spec is None or not spec.submodule_search_locations:
        raise MissingPackageError("diffusers is not installed. Type: pip install 'diffusers>=0.42'.")
    return Path(next(iter(spec.submodule_search_locations)))
