"""Which character comes next? A small recurrent model, trained end to end on a text file, and one step of it explained.

python examples/next_token.py [FILE] [PROMPT]
"""

import sys
from pathlib import Path

import torch

from lastlayer import functional
from lastlayer.explanation import explain_next_token

given = sys.argv[1:]
file = Path(given[0]) if given else Path(__file__).parents[1] / "README.md"
prompt = given[1] if len(given) > 1 else "the "

text = file.read_text(encoding="utf-8")
characters = sorted(set(text + prompt))
tokens = torch.tensor([characters.index(one) for one in text])
held = tokens[-len(tokens) // 10 :]


class Model(torch.nn.Module):
    """Characters to features; the last layer makes a logit per character."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(len(characters), 32)
        self.recurrent = torch.nn.GRU(32, 96, batch_first=True)
        self.last = torch.nn.Linear(96, len(characters))

    def features(self, rows: torch.Tensor) -> torch.Tensor:
        return self.recurrent(self.embedding(rows))[0]


torch.manual_seed(0)
model = Model()
optimizer = torch.optim.Adam(model.parameters(), 0.006)
for step in range(200):
    start = torch.randint(0, len(tokens) - len(held) - 41, (24,))
    rows = torch.stack([tokens[place : place + 41] for place in start])
    loss = functional.linear_cross_entropy(
        model.features(rows[:, :-1]), model.last.weight, rows[:, 1:], linear_bias=model.last.bias
    )
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 50 == 0:
        print(f"step {step:3}: loss {loss.item():.4f}, perplexity {loss.exp().item():.2f} of {len(characters)}")

with torch.no_grad():
    logits = model.last(model.features(held[None, :-1]))[0]
    loss = functional.cross_entropy(logits, held[1:])
    print(f"held out: {loss.item():.4f} nats per character, perplexity {loss.exp().item():.2f}")
    written = [characters.index(one) for one in prompt]
    following = model.last(model.features(torch.tensor([written])))[0, -1]

names = [repr(one) for one in characters]
best = following.argsort(descending=True)[:5].tolist()
p = functional.softmax(following, 0)
print(f"after {prompt!r}:", ", ".join(f"{names[one]} {p[one]:.3f}" for one in best))
print(explain_next_token(following, best[1], tokens=names, top=5))
