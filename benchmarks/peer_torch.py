"""The tutorial's networks and step in PyTorch, as `benchmarks.peers` times it: `peer_torch.py HOW`.

HOW: eager; channels_last; compiled, which is that with both networks by `torch.compile`; graph, which is that with the whole step
captured as a CUDA graph. All with the fused Adam.
"""

import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parent))
from peer_worker import serve  # noqa: E402

HOW = sys.argv[1] if len(sys.argv) > 1 else "eager"
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
    if HOW != "eager":
        g, d, x = (a.to(memory_format=torch.channels_last) for a in (g, d, x))
    adam = {"lr": 1e-4, "fused": True, "capturable": HOW == "graph"}
    opt_g, opt_d = (torch.optim.Adam(n.parameters(), **adam) for n in (g, d))
    params_g, params_d = list(g.parameters()), list(d.parameters())
    if HOW in ("compiled", "graph"):
        g.compile()
        d.compile()

    def step():
        fake = g(torch.randn(batch, 100, device=DEVICE))
        real_out, fake_out = d(x), d(fake)
        loss_d = F.softplus(-real_out).mean() + F.softplus(fake_out).mean()
        loss_g = F.softplus(-fake_out).mean()
        # Both from the same forward passes and parameters, as the tutorial does.
        grads_d = torch.autograd.grad(loss_d, params_d, retain_graph=True)
        grads_g = torch.autograd.grad(loss_g, params_g)
        for params, grads, opt in ((params_d, grads_d, opt_d), (params_g, grads_g, opt_g)):
            for p, grad in zip(params, grads, strict=True):
                p.grad = grad
            opt.step()

    if HOW == "graph":
        step = captured(step)

    def run(steps):
        for _ in range(steps):
            step()
        if DEVICE == "cuda":
            torch.cuda.synchronize()

    return run


def captured(step):
    """A step as one CUDA graph: Python launches no kernels any more, which is most of a small step's time."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):  # compiles, chooses algorithms
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


if __name__ == "__main__":
    if HOW == "graph" and DEVICE == "cpu":
        sys.exit("needs a GPU")
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True  # as in XLA
    device = torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu"
    serve(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {device}", build)
