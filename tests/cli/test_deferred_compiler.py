"""torch's compiler, left out of what is imported and there for whoever compiles."""

import subprocess
import sys
import textwrap
from types import ModuleType

import pytest

from covtool_cli import deferred_compiler

BEGIN = "from covtool_cli.deferred_compiler import PACKAGE, import_vision; import sys\n"


def output_of(code: str) -> list[str]:
    """Return the lines that a new process prints."""
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_models_are_opened_and_measured_without_the_compiler() -> None:
    code = """
        import_vision()
        import covtool.checkpoints.inspection, covtool.conversion
        from covtool.backbones.create import create_model
        from covtool.specs import BaseSpec, InputSpec
        from covtool.surgery.report import measure_size
        base = BaseSpec(library="timm", name="test_resnet")
        print(measure_size(create_model(base, num_classes=2), InputSpec(size=(32, 32))).flops > 0)
        print(sorted({PACKAGE, "sympy", "torch.distributed.tensor"} & set(sys.modules)))
    """
    assert output_of(code) == ["True", "[]"]


def test_whoever_asks_for_it_gets_the_compiler() -> None:
    code = """
        import_vision()
        import torch
        from torchvision.ops import roi_align
        function = sys.modules["torchvision.ops.roi_align"].is_compile_supported
        print(PACKAGE in sys.modules)
        print(function("cpu") == torch._dynamo.utils.is_compile_supported("cpu"))
        print(torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1)).item())
    """
    assert output_of(code) == ["False", "True", "2.0"]


@pytest.mark.parametrize(
    "imported",
    [
        "import torch._dynamo; print(torch._dynamo.config.recompile_limit > 0)",
        "from torch._dynamo import config; print(config.recompile_limit > 0)",
        "from torch._dynamo.utils import counters; print(counters is not None)",
    ],
)
def test_another_import_of_it_meanwhile_gets_the_real_one(imported) -> None:
    code = f"""
        import torch
        from covtool_cli import deferred_compiler
        with deferred_compiler._stand_ins():
            {imported}
        print(type(sys.modules[PACKAGE]).__name__)
    """
    assert output_of(code) == ["True", "module"]


def test_functions_stay_out_of_what_is_compiled() -> None:
    code = """
        import torch.compiler
        from covtool_cli import deferred_compiler
        with deferred_compiler._deferred(torch.compiler, "disable"):
            @torch.compiler.disable
            def apart(x):
                return "sees " + str(torch.compiler.is_compiling()), x + 1
            @torch.compiler.disable(recursive=False)
            def other(x):
                return apart(x)
        print(apart(torch.ones(1))[0], other.__name__, PACKAGE in sys.modules)
        graphs = []
        def backend(graph, inputs):
            graphs.append(graph)
            return graph
        compiled = torch.compile(lambda x: apart(x * 2)[1] * 3, backend=backend)
        print(*compiled(torch.ones(2)).tolist())
        targets = [str(node.target) for graph in graphs for node in graph.graph.nodes]
        print(sum("add" in target for target in targets), sum("mul" in t for t in targets))
    """
    assert output_of(code) == ["sees False other False", "9.0 9.0", "0 2"]


def test_the_decorator_is_the_libraries_own_afterwards() -> None:
    code = """
        import torch.compiler
        before = torch.compiler.disable, torch._disable_dynamo
        import_vision()
        print((torch.compiler.disable, torch._disable_dynamo) == before)
    """
    assert output_of(code) == ["True"]


def test_a_torch_without_the_decorator_is_left_as_it_is() -> None:
    with deferred_compiler._deferred(owner := ModuleType("other"), "disable"):
        assert not hasattr(owner, "disable")
