"""A module with its inputs, shared by eager PyTorch and torch.compile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any

from prune_deploy.backends.pytorch.precision import cast, check_precision, check_tf32, described
from prune_deploy.backends.pytorch.settings import applied, tf32_state
from prune_deploy.backends.run_options import device_failed, out_of_memory
from prune_deploy.errors import InputError, first_line
from prune_deploy.specs import RunOptions
from prune_deploy.tensors import Arrays, arranged, output_tensors

if TYPE_CHECKING:
    import torch
    from torch import nn

_IMAGE_AXES = 4

RUN_ERRORS = (RuntimeError, AssertionError, TypeError, ValueError, AttributeError)
"""Errors that a module raises for inputs that do not fit it."""


@cache
def _process_stream() -> torch.cuda.Stream:
    """The one stream of all sessions of this process.

    They never run at the same time. PyTorch's allocator reuses a freed block on the stream that it was used on, and on no other.
    With a stream each, every session would keep the activations of its largest layers.
    """
    import torch

    return torch.cuda.Stream()  # type: ignore[no-untyped-call]


class TorchSession:
    """Module and inputs, on the CPU or a CUDA stream.

    The module takes them in their order, whatever their names. `options` are in force already. In half precision it still takes and
    gives float32: the casts are part of a run.
    """

    def __init__(self, module: nn.Module, inputs: Arrays, options: RunOptions) -> None:
        import torch

        self._torch, self._options = torch, options
        self._layout = torch.channels_last if options.channels_last else torch.contiguous_format
        self._module = cast(module, options.precision).to(device=options.device).to(memory_format=self._layout)
        self._call: Callable[..., Any] = self._module
        self._cuda_stream: torch.cuda.Stream | None = None
        if options.device == "cuda":
            self._cuda_stream = _process_stream()
            torch.cuda.synchronize()  # the weights arrive on another stream
        self._output: Any = None
        self.bind(inputs)

    def bind(self, inputs: Arrays) -> None:
        """Bind inputs, in the order of the module's arguments."""
        host = [self._torch.from_numpy(array) for array in arranged(inputs, list(inputs)).values()]
        with self._on_stream():
            # Copies, at addresses PyTorch's kernels like: the caller's arrays may lie anywhere, and change.
            self._inputs = tuple(
                each.to(device=self._options.device, memory_format=self._layout_of(each), copy=True) for each in host
            )
        self.synchronize()

    def _layout_of(self, tensor: torch.Tensor) -> torch.memory_format:
        """Return the memory layout of a tensor: images alone have channels."""
        return self._layout if tensor.dim() == _IMAGE_AXES else self._torch.contiguous_format

    @contextmanager
    def active(self) -> Iterator[dict[str, float]]:
        """Put threads, TF32 and cuDNN's search in force for a block.

        On a GPU the reading `allocator_retries` counts how often PyTorch's allocator found no memory during the block. It then gives
        its caches back and asks again, which takes milliseconds of the run.

        Raises:
            BuildError: at the block's end, if TF32 is not what the label says.
        """
        readings: dict[str, float] = {}
        with applied(self._options):
            before = self._allocator_retries()
            yield readings
            if before is not None:
                readings["allocator_retries"] = float((self._allocator_retries() or 0) - before)
            check_tf32(self._options, tf32_state())

    def _allocator_retries(self) -> int | None:
        if self._cuda_stream is None:
            return None
        return int(self._torch.cuda.memory_stats().get("num_alloc_retries", 0))

    def run(self) -> None:
        """Run once. On the CPU the call returns with the outputs.

        Raises:
            InputError: the module does not run on the bound inputs.
            CannotRunError: there is not enough memory.
        """
        try:
            with self._torch.inference_mode(), self._on_stream():
                self._output = self._call(*self._inputs)
        except RUN_ERRORS as error:
            raise self.refused(error) from error

    def refused(self, error: Exception) -> Exception:
        """Return the error to raise for a module's error.

        Memory ran out, the GPU failed, or else the input does not fit.
        """
        shape = " and ".join(str(tuple(each.shape)) for each in self._inputs)
        if isinstance(error, self._torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            return out_of_memory(f"the module on an input of {shape}")
        if isinstance(error, self._torch.AcceleratorError):
            return device_failed(f"the module on an input of {shape}", error)
        return InputError(
            f"the module does not run on an input of {shape}: {first_line(error, 300)}",
            fix="bind inputs of the model's size; whether the bundle is damaged, prune-deploy verify tells",
        )

    def synchronize(self) -> None:
        """Wait for the stream. Nothing is pending on a CPU."""
        if self._cuda_stream is not None:
            self._cuda_stream.synchronize()

    @property
    def stream(self) -> int | None:
        """The CUDA stream's handle, None on a CPU."""
        return None if self._cuda_stream is None else int(self._cuda_stream.cuda_stream)

    @property
    def module(self) -> nn.Module:
        """The module as it is, not compiled, for inspection."""
        return self._module

    @property
    def inputs(self) -> tuple[torch.Tensor, ...]:
        """The bound inputs, on their device."""
        return self._inputs

    def outputs(self) -> Arrays:
        """Outputs of the last run by name, see `output_tensors`."""
        assert self._output is not None, "run() comes first"
        self.synchronize()
        # Copies: compiled modules may write the next answer into the same memory.
        return {name: tensor.detach().cpu().numpy().copy() for name, tensor in output_tensors(self._output).items()}

    def settings(self) -> dict[str, str]:
        """Settings in force, as PyTorch reports them."""
        torch = self._torch
        on_gpu = self._options.device == "cuda"
        settings = {
            "torch": torch.__version__,
            "device": torch.cuda.get_device_name() if on_gpu else "cpu",
            "threads": str(torch.get_num_threads()),
            "tf32": tf32_state(),
            "channels_last": str(self._is_channels_last()).lower(),
            **described(self._module, self._options),
        }
        if on_gpu:
            settings["cudnn"] = str(torch.backends.cudnn.version())
            settings["cudnn.benchmark"] = str(torch.backends.cudnn.benchmark).lower()
        return settings

    def check(self) -> None:
        """Check that the layers are in the label's precision.

        Nothing else can differ: a module runs where its weights are, or raises.

        Raises:
            BuildError: they are not.
        """
        check_precision(self._module, self._options, tf32_state())

    def device_bytes(self) -> int | None:
        """Return the peak device memory of one run in bytes.

        Weights are included. None on a CPU.
        """
        if self._cuda_stream is None:
            return None
        cuda = self._torch.cuda
        self._output = None
        self.synchronize()
        cuda.reset_peak_memory_stats()
        before = cuda.memory_allocated()  # of all sessions in this process
        self.run()
        self.synchronize()
        tensors = [*self._inputs, *self._module.parameters(), *self._module.buffers()]
        return sum(tensor.nbytes for tensor in tensors) + int(cuda.max_memory_allocated() - before)

    def _on_stream(self) -> AbstractContextManager[Any]:
        return nullcontext() if self._cuda_stream is None else self._torch.cuda.stream(self._cuda_stream)

    def _is_channels_last(self) -> bool:
        """Tell whether images and convolution weights are channels-last in memory."""
        tensors = [each for each in (*self._inputs, *self._module.parameters()) if each.dim() == _IMAGE_AXES]
        return all(tensor.is_contiguous(memory_format=self._torch.channels_last) for tensor in tensors)
