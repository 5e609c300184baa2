"""Modules, optimisers and initial values."""

L = "l = nn.Linear(2, 3)\n"
S = "m = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))\nx = torch.tensor([[1., 2.]])\n"
N = "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
W = N + "        self.w = nn.Parameter(torch.ones(2))\nm = Net()\n"
B = "[list(m.state_dict()), len(list(m.parameters()))]"
P = "p = nn.Parameter(torch.tensor([1., 2.]))\n"
BAD = "p.grad = torch.tensor([float('inf'), 1.])\ntorch.nn.utils.clip_grad_norm_([p], 1."
TRAIN = ("m = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))\nx = torch.randn(8, 2)\nfor _ in range(5):\n"
         "    o.zero_grad()\n    (m(x) ** 2).mean().backward()\n    o.step()\nm[0].weight")

SAME = [
    # layers and initial values
    L + "l.weight", L + "l.bias", L + "l(torch.tensor([[1., 2.]]))", "nn.Linear(2, 3, bias=False).bias",
    "repr(nn.Linear(2, 3))", "nn.Embedding(4, 3).weight", "nn.Embedding(4, 3)(torch.tensor([[0, 3]])).shape",
    "nn.Embedding(4, 3, padding_idx=0).weight", "nn.LayerNorm(4)(torch.tensor([[1., 2., 3., 4.]]))",
    "nn.Dropout(0.5)(torch.ones(6, 6))", "nn.Dropout(0.5).eval()(torch.ones(3))", "nn.Dropout(1.5)",
    "nn.init.kaiming_uniform_(torch.empty(3, 4))", "nn.init.xavier_uniform_(torch.empty(3, 4))",
    "nn.init.normal_(torch.empty(20), 0.0, 0.02)",
    "nn.init.zeros_(torch.empty(3))", "nn.init.constant_(torch.empty(2), 3.)",
    "nn.init.xavier_normal_(torch.empty(5))", "nn.init.calculate_gain('relu')",
    # the tree
    S + "m(x)", S + "len(m)", S + "[n for n, _ in m.named_parameters()]", S + "sum(p.numel() for p in m.parameters())",
    S + "next(m.parameters())", S + "[n for n, _ in m.named_children()]", S + "[type(k).__name__ for k in m.modules()]",
    S + "str(m)", S + "list(m.state_dict())", S + "m.state_dict()['0.weight'].requires_grad",
    S + "m.load_state_dict(m.state_dict())\n1", S + "str(m.load_state_dict(m.state_dict()))",
    S + "m.load_state_dict({})", S + "m.load_state_dict({}, strict=False).missing_keys",
    S + "{k: v.clone() for k, v in m.state_dict().items()}['2.bias']",
    S + "m.eval().training", S + "m.train(False)[0].training", S + "m.requires_grad_(False)[0].weight.requires_grad",
    S + "seen = []\nm.apply(lambda k: seen.append(type(k).__name__))\nseen", S + "m.get_submodule('0').weight.shape",
    S + "m(x).sum().backward()\nm.zero_grad()\nm[0].weight.grad",
    S + "m(x).sum().backward()\nm.zero_grad(set_to_none=False)\nm[0].weight.grad",
    S + "h = m[0].register_forward_hook(lambda k, a, y: y * 0)\na = m[0](x)\nh.remove()\n[a, m[0](x)]",
    S + "m.float()[0].weight.dtype", S + "m.half()[0].weight.dtype",
    S + "m.double()[0].weight.dtype", S + "m.to(torch.float64)[0].weight.dtype",
    S + "m.to('cpu')[0].weight", S + "m[0:1][0].weight", S + "m.append(nn.Tanh())(x)", S + "m[9]",
    S + "import copy\nc = copy.deepcopy(m)\nwith torch.no_grad():\n    m[0].weight *= 0\nc(x)",
    "str(nn.ModuleList([nn.Linear(1, 1), nn.Tanh()])[1])", "list(nn.ModuleDict({'a': nn.Tanh()}))",
    "nn.ModuleList([1])", "nn.Sequential(1)", "[p for p in nn.ParameterList([torch.ones(1)])]",
    P + "p", P + "isinstance(p, torch.Tensor)", P + "p.is_leaf", "nn.Parameter(torch.tensor([1, 2]))",
    W + "m.w = torch.ones(2)",
    W + "m.w = None\nlist(m.parameters())",
    W + "with torch.no_grad():\n    m.w -= 1\nlist(m.parameters())",
    W + "del m.w\nlist(m.parameters())",
    N + "        self.register_buffer('b', torch.ones(2))\nm = Net()\n" + B,
    N + "        self.register_buffer('b', torch.ones(2), persistent=False)\nm = Net()\nlist(m.state_dict())",
    N + "        self.l = nn.Linear(1, 1)\n        self.k = self.l\nm = Net()\n" + B,
    N + "        pass\nNet()(1)", N + "        self.add_module('a.b', nn.Tanh())\nNet()",
    # losses
    "F.cross_entropy(torch.tensor([[1., 2.]]), torch.tensor([1]))", "F.mse_loss(torch.ones(2), torch.zeros(2))",
    "nn.CrossEntropyLoss()(torch.tensor([[1., 2.]]), torch.tensor([1]))",
    # optimisers
    *(TRAIN.replace("for _", f"o = torch.optim.{o}\nfor _", 1) for o in (
        "SGD(m.parameters(), lr=0.1)", "SGD(m.parameters(), lr=0.1, momentum=0.9, nesterov=True)",
        "Adam(m.parameters(), lr=0.01)", "AdamW(m.parameters(), lr=0.01, weight_decay=0.1)",
        "AdamW([{'params': m[0].parameters(), 'lr': 0.1}, {'params': m[2].parameters()}])")),
    P + "torch.optim.SGD(p, lr=0.1)", P + "torch.optim.Adam([p * 2])", P + "torch.optim.Adam([p], lr=-1.)",
    P + "torch.optim.Adam([p], lr=float('nan'))", P + "torch.optim.AdamW([p], betas=(1, 2))", "torch.optim.AdamW([])",
    "torch.optim.SGD('ab', lr=1.)", P + "torch.optim.SGD([{'params': [p]}, {'params': [p]}], lr=1.)",
    P + "torch.optim.SGD([p], nesterov=True)", P + "torch.optim.AdamW([p]).param_groups[0]['lr']",
    P + "o = torch.optim.SGD([p], lr=0.5)\no.param_groups[0]['lr'] = 0.25\np.sum().backward()\no.step()\np",
    P + "o = torch.optim.Adam([p])\nlist(o.state_dict())[:2]",
    P + "o = torch.optim.SGD([p], lr=1.)\no.step(lambda: 3.5)",
    P + "(p * 3).sum().backward()\nn = torch.nn.utils.clip_grad_norm_([p], 1.)\n[n, p.grad]",
    *(P + f"(p * p * 3).sum().backward()\nn = torch.nn.utils.clip_grad_norm_([p], 1., {n})\n[n, p.grad]" for n in (
        "norm_type=1", "norm_type=2", "norm_type=3.", "norm_type=float('inf')", "2.0, True")),
    P + BAD + ", error_if_nonfinite=True)\n1", P + BAD + ", norm_type=1, error_if_nonfinite=True)\n1",
    W + "m.register_parameter('b', None)\nm.b = torch.ones(2)", W + "m.w = None\nm.w = torch.ones(2)\n1",
    W + "m.w = None\ndel m.w\nm.w = torch.ones(2)\nlen(list(m.parameters()))",
    W + "m.register_parameter('b', None)\nm.b = nn.Parameter(torch.ones(2))\nlist(m.parameters())",
    *(f"m = nn.{layer}, {given})\n[(p.dtype, p.shape, p.is_leaf, p.requires_grad) for p in m.parameters()]"
      for layer in ("Linear(2, 1", "Embedding(2, 3", "LayerNorm(2")
      for given in ("dtype=torch.float64", "device='cpu'", "device=None, dtype=None", "dtype=torch.float16",
                    "device=torch.device('cpu'), dtype=torch.float64", "dtype=torch.int64", "device='absent'")),
]

DIFFERENT = [
    (N + "        self.l = [nn.Linear(1, 1)]\nlen(list(Net().parameters()))", "a list, tuple or dictionary of modules"),
    (N + "        self.l = {nn.Tanh()}\nNet()\n1", "a set of modules"),
    ("l = nn.Linear(1, 1)\nl.load_state_dict({'weight': torch.tensor([[float('nan')]]), 'bias': torch.ones(1)})\n1",
     "`load_state_dict` with NaN"),
    (P + "torch.optim.SGD([p, p], lr=1.)\n1", "one parameter twice in a group"),
    (P + "torch.optim.AdamW([p], amsgrad=True)\n1", "`AdamW(…, amsgrad=True)`"),
    *((P + f"torch.optim.AdamW([p], {name}=False)\n1",
       "`foreach=`, `fused=`, `capturable=`, `differentiable=` of optimisers")
      for name in ("foreach", "fused", "capturable", "differentiable")),
    (P + BAD + ")\np.grad", "`clip_grad_norm_` of gradients that are not finite"),
    ("nn.Linear(2, 1, dtype=torch.float64).weight",
     "`nn.Linear(…, dtype=torch.float64)` and other layers with a dtype"),
    ("nn.Dropout(1.0)(torch.ones(2))", "`nn.Dropout(1.0)`"),
]
