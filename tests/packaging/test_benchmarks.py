"""What benchmarks name in strings, which neither mypy nor an import of theirs looks at, is there."""

from __future__ import annotations

import ast
import re
from importlib import import_module

import pytest

from benchmarks.__main__ import BENCHMARKS


@pytest.mark.parametrize("where", BENCHMARKS.values(), ids=BENCHMARKS)
def test_each_is_a_function_whose_processes_import_what_exists(where: str) -> None:
    name, function = where.split(":")
    module = import_module(name)
    assert callable(getattr(module, function))
    strings = [value for key, value in vars(module).items() if isinstance(value, str) and key != "__doc__"]
    for code in (each for each in strings if re.search(r"^(import|from) ", each, re.MULTILINE)):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom):
                assert node.module
                source = import_module(node.module)
                assert all(hasattr(source, alias.name) for alias in node.names)
            elif isinstance(node, ast.Import):
                assert all(import_module(alias.name) for alias in node.names)
