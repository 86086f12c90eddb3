"""PyTorch's process-wide switches.

They are set for one session, read back from PyTorch, and restored when the session closes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec

from prune_deploy.errors import CannotRunError
from prune_deploy.interfaces import Availability
from prune_deploy.specs import RunOptions


def torch_available() -> Availability:
    """Tell whether PyTorch is installed."""
    if find_spec("torch") is None:
        return Availability(available=False, reason="torch is not installed", fix="pip install torch torchvision")
    return Availability(available=True)


def require_cuda_build() -> None:
    """Refuse a PyTorch that cannot use the GPU that is there.

    Raises:
        CannotRunError: PyTorch sees no GPU.
    """
    import torch

    if not torch.cuda.is_available():
        raise CannotRunError(
            f"torch {torch.__version__} sees no CUDA device", fix="install the CUDA build of torch; see: prune-deploy doctor"
        )


@contextmanager
def applied(options: RunOptions) -> Iterator[None]:
    """Set threads, TF32 and cuDNN's search as `options` say.

    They hold for the whole process until the block ends.
    """
    import torch

    with ExitStack() as restore:
        if options.threads is not None and options.threads != torch.get_num_threads():
            restore.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(options.threads)
        restore.callback(_set_cudnn_benchmark, torch.backends.cudnn.benchmark)
        _set_cudnn_benchmark(options.cudnn_benchmark)
        restore.callback(_precision_restorer())
        set_tf32(options.precision == "tf32")
        yield


def set_tf32(enabled: bool) -> None:
    """Allow or forbid TF32 in products and convolutions of NVIDIA GPUs.

    CPU kernels stay as they are. PyTorch's older switches (`allow_tf32`) and its newer ones (`fp32_precision`) are set alike. Where
    they differ, PyTorch raises at whoever asks for the older: Inductor's templates, or other code of the process.
    """
    import torch

    on_cpu = torch.backends.mkldnn.matmul.fp32_precision  # type: ignore[attr-defined]
    precision = "tf32" if enabled else "ieee"
    torch.backends.cudnn.allow_tf32 = enabled  # before the newer switches, some of which it sets too
    torch.backends.cudnn.fp32_precision = precision
    torch.backends.cudnn.conv.fp32_precision = precision  # type: ignore[attr-defined]
    torch.backends.cudnn.rnn.fp32_precision = precision  # type: ignore[attr-defined]
    torch.set_float32_matmul_precision("high" if enabled else "highest")
    torch.backends.mkldnn.matmul.fp32_precision = on_cpu  # type: ignore[attr-defined]


def tf32_state() -> str:
    """Return PyTorch's setting, such as "matmul ieee, conv ieee".

    "tf32" allows TF32, and "none" and "ieee" do not.
    """
    import torch

    matmul, conv = torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision  # type: ignore[attr-defined]
    return f"matmul {matmul}, conv {conv}"


def _set_cudnn_benchmark(enabled: bool) -> None:
    import torch

    torch.backends.cudnn.benchmark = enabled


def _precision_restorer() -> Callable[[], None]:
    """A call that brings back the precisions of this moment."""
    import torch

    cudnn = torch.backends.cudnn
    conv, rnn = cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision  # type: ignore[attr-defined]
    cuda, matmul = cudnn.fp32_precision, torch.backends.cuda.matmul.fp32_precision
    on_cpu = torch.backends.mkldnn.matmul.fp32_precision  # type: ignore[attr-defined]

    def restore() -> None:
        cudnn.allow_tf32 = conv == "tf32"
        cudnn.fp32_precision = cuda
        cudnn.conv.fp32_precision = conv  # type: ignore[attr-defined]
        cudnn.rnn.fp32_precision = rnn  # type: ignore[attr-defined]
        torch.set_float32_matmul_precision("high" if matmul == "tf32" else "highest")
        torch.backends.cuda.matmul.fp32_precision = matmul
        torch.backends.mkldnn.matmul.fp32_precision = on_cpu  # type: ignore[attr-defined]

    return restore
