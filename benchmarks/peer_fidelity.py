"""torch-fidelity's Inception features, for `benchmarks.metrics`."""

import sys
from pathlib import Path

import torch
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

sys.path.insert(0, str(Path(__file__).parent))
from peer_worker import serve  # noqa: E402


def main() -> None:
    net = FeatureExtractorInceptionV3("inception", ["2048", "logits_unbiased"], feature_extractor_weights_path=sys.argv[1])

    def build(batch):
        x = torch.randint(0, 256, (batch, 3, 32, 32), dtype=torch.uint8)

        def run(steps):
            with torch.no_grad():
                for _ in range(steps):
                    net(x)

        return run

    serve(f"torch {torch.__version__}, {torch.get_num_threads()} threads", build)


if __name__ == "__main__":
    main()
