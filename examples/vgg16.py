"""VGG-16: thirteen convolutions and three linear layers, the last of which gives the logits."""

import timm
import torch

from lastlayer.explanation import explain, explain_image

torch.manual_seed(0)
model = timm.create_model("vgg16", num_classes=5).eval()
picture = torch.randint(0, 256, (1, 3, 64, 64))
print(explain_image(64, 64)["all_values"].value.item(), "numbers from 0 to 255 go in")
with torch.no_grad():
    features = model.forward_head(model.forward_features(picture / 255), pre_logits=True)
    logits = model.get_classifier()(features)
print(tuple(features.shape), "features come out of the last hidden layer,", tuple(logits.shape), "logits of the last")
trace = explain(logits, "fish", classes=["horse", "ball", "fish", "car", "stick"])
print(trace)
