"""The public functions say what they take and return. (What the types say is checked by mypy and pyright, not here.)"""

import ast
import importlib
import inspect
import typing
from pathlib import Path

import jaxgan

ROOT = Path(jaxgan.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))


def public(body: list[ast.stmt], place: str = "") -> list[tuple[str, ast.FunctionDef]]:
    """(name, definition) of what others may call: functions, and methods of classes."""
    found = []
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            found += public(node.body, f"{place}{node.name}.")
        elif isinstance(node, ast.FunctionDef) and (not node.name.startswith("_") or node.name.endswith("__")):
            found.append((place + node.name, node))
    return found


def lacks(node: ast.FunctionDef) -> list[str]:
    a = node.args
    given = [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg))]
    bare = [arg.arg for arg in given if arg.annotation is None and arg.arg not in ("self", "cls")]
    return bare + ["return"] * (node.returns is None and node.name != "__init__")


def test_the_public_functions_are_annotated():
    found = {name: lacks(node) for path in FILES for name, node in public(ast.parse(path.read_text()).body, f"{path.stem}.")}
    assert {name: lacking for name, lacking in found.items() if lacking} == {}
    assert len(found) > 800


def test_the_annotations_mean_something():
    """No name in them is missing where they are read, as tyro, Sphinx and the like do."""
    for path in FILES:
        name = ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")
        for thing in vars(importlib.import_module(name)).values():
            if getattr(thing, "__module__", "") == name and callable(thing):
                methods = (
                    [method for method in vars(thing).values() if inspect.isfunction(method)] if inspect.isclass(thing) else []
                )
                for function in (inspect.unwrap(thing), *methods):
                    typing.get_type_hints(function)


def test_the_package_says_that_it_is_typed():
    assert (ROOT / "py.typed").exists()
