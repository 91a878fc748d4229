"""The Triton kernels compile for the GPUs they are meant for, also where there is none."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton")

PROGRAM = """
import itertools
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from rlent_kernels import pointwise_triton as kernels

def types(kernel, floats):
    for name in kernel.arg_names:
        if name in ("CAPPED", "FURTHER", "ENTROPY", "BLOCK"):
            continue
        if name in ("targets_at", "argmax_at"):
            yield name, "*i64"
        elif name == "gradient_at":
            yield name, "*" + floats[1]
        elif name.endswith("_at"):
            yield name, "*" + floats[0]
        else:
            yield name, "fp32" if name == "cap" else "i32"

count = 0
for capability in (80, 90):
    for floats in (("fp32", "fp32"), ("fp32", "bf16"), ("fp64", "fp64")):
        for flags in itertools.product([True, False], repeat=2):
            for kernel, second in ((kernels._absorb, "FURTHER"), (kernels._logit_gradient, "ENTROPY")):
                constants = {"CAPPED": flags[0], second: flags[1]} | {"BLOCK": 1024}
                signature = dict(types(kernel, floats)) | {name: "constexpr" for name in constants}
                source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
                compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32))
                assert compiled.asm["cubin"]
                count += 1
print(count)
"""


@pytest.mark.slow
def test_every_variant_compiles(tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.strip() == "48"
