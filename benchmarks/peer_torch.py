"""The tutorial's networks and step in PyTorch, as `benchmarks.peers` times it: eager, channels_last, or compiled."""

import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parent))
from peer_worker import serve  # noqa: E402

HOW = sys.argv[1] if len(sys.argv) > 1 else ""
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def networks():
    leaky = lambda: nn.LeakyReLU(0.3)
    deconv = lambda a, b, s: nn.ConvTranspose2d(a, b, 5, s, padding=2, output_padding=s - 1, bias=False)
    norm = lambda n, kind=nn.BatchNorm2d: kind(n, eps=1e-3, momentum=0.01)
    g = nn.Sequential(
        *(nn.Linear(100, 7 * 7 * 256, bias=False), norm(7 * 7 * 256, nn.BatchNorm1d), leaky(), nn.Unflatten(1, (256, 7, 7))),
        *(deconv(256, 128, 1), norm(128), leaky(), deconv(128, 64, 2), norm(64), leaky(), deconv(64, 1, 2), nn.Tanh()),
    )
    d = nn.Sequential(
        *(nn.Conv2d(1, 64, 5, 2, padding=2), leaky(), nn.Dropout(0.3)),
        *(nn.Conv2d(64, 128, 5, 2, padding=2), leaky(), nn.Dropout(0.3)),
        *(nn.Flatten(), nn.Linear(7 * 7 * 128, 1)),
    )
    return g.to(DEVICE), d.to(DEVICE)


def build(batch: int):
    g, d = networks()
    x = torch.rand(batch, 1, 28, 28, device=DEVICE) * 2 - 1
    if HOW:
        g, d, x = (a.to(memory_format=torch.channels_last) for a in (g, d, x))
    opt_g, opt_d = (torch.optim.Adam(n.parameters(), 1e-4) for n in (g, d))
    params_g, params_d = list(g.parameters()), list(d.parameters())

    def gradients(x):
        z = torch.randn(batch, 100, device=DEVICE)
        fake = g(z)
        real_out, fake_out = d(x), d(fake)
        loss_d = F.softplus(-real_out).mean() + F.softplus(fake_out).mean()
        loss_g = F.softplus(-fake_out).mean()
        # Both from the same forward passes and parameters, as the tutorial does.
        return torch.autograd.grad(loss_d, params_d, retain_graph=True), torch.autograd.grad(loss_g, params_g)

    if HOW == "compiled":
        g.compile()
        d.compile()

    def run(steps):
        for _ in range(steps):
            for params, grads, opt in zip((params_d, params_g), gradients(x), (opt_d, opt_g), strict=True):
                for p, grad in zip(params, grads, strict=True):
                    p.grad = grad
                opt.step()
        if DEVICE == "cuda":
            torch.cuda.synchronize()

    return run


if __name__ == "__main__":
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True  # as in XLA
    serve(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {DEVICE}", build)
