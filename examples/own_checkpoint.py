"""Your own fine-tuned model: python examples/own_checkpoint.py [MODEL] [EPOCHS].

It becomes a pruned, verified and measured bundle. `train` makes its state dict from scikit-learn's digits: replace it with yours.
"""

import sys
from pathlib import Path

import timm
import torch
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy, interpolate

import prune_deploy as pd

CLASSES, SIZE = 10, (3, 32, 32)


def train(model: str, epochs: int, path: Path) -> None:
    """Train in plain PyTorch, as your own script does."""
    network = timm.create_model(model, num_classes=CLASSES)
    images, labels = (torch.from_numpy(each) for each in load_digits(return_X_y=True))
    images = interpolate(images.float().div(16).view(-1, 1, 8, 8).repeat(1, 3, 1, 1), SIZE[1:], mode="bicubic")
    config = timm.data.resolve_model_data_config(network)
    mean, std = (torch.tensor(config[name]).view(3, 1, 1) for name in ("mean", "std"))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(64):
            loss = cross_entropy(network((images[batch] - mean) / std), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    torch.save(network.state_dict(), path)


def main(model: str = "test_resnet", epochs: int = 3, folder: Path = Path("engines/own")) -> None:
    """Prune the checkpoint, train it further, check and measure it."""
    folder.mkdir(parents=True, exist_ok=True)
    train(model, epochs, folder / "mine.pth")
    # 1. Build timm's architecture with your weights. A file that does not fit is an error that names the tensor.
    loaded = pd.build_model(model, num_classes=CLASSES, input_size=SIZE, weights=folder / "mine.pth")
    # 2. Remove half of the channels. The receipt says what every group kept and why.
    pruned = pd.prune(loaded, 0.5)
    print(f"parameters {pruned.receipt.before.params:,} -> {pruned.receipt.after.params:,}")
    # 3. Write a bundle (without `precisions` and `engine`: FP16 and TensorRT too), and train it further to win back accuracy.
    bundle = pd.export_bundle(loaded, folder / "pruned", pruned=pruned, precisions="fp32", engine="none")
    tuned = pd.finetune(bundle, "digits", epochs=epochs, out=folder / "tuned")
    print(f"top-1 {tuned.training.top1_before:.1%} -> {tuned.training.top1_after:.1%}")
    # 4. Check hashes, reload and parity of every file.
    for finding in pd.verify_bundle(tuned):
        print(finding.status, finding.name, finding.check)
    # 5. Measure it beside the dense model. The verdict says whether the speed-up is sure.
    run = pd.bench(tuned, backend="ort", rigor="quick", budget_s=10)
    for case in run.cases:
        if case.latency is not None and case.speedup is not None:
            print(f"{case.latency.median_ms.value:.2f} ms, {case.speedup.ratio.value:.2f}x, {case.speedup.verdict}")


if __name__ == "__main__":
    main(*sys.argv[1:2], *map(int, sys.argv[2:3]))
