"""The second half of quickstart.sh: load a release folder with transformers' pipeline and classify one image."""

import sys

from PIL import Image
from sklearn.datasets import load_digits
from transformers import pipeline
from transformers.utils import logging

import hubmodels  # noqa: F401    makes the Auto classes and pipelines know the families

folder = sys.argv[1]
logging.set_verbosity_error()
logging.disable_progress_bar()
digits = load_digits()
image = Image.fromarray((digits.images[-1] * 255 / 16).astype("uint8"))
answers = pipeline("image-classification", model=folder)(image, top_k=3)
ramp = " .:-=+*#%@"
print("\n".join("   " + "".join(2 * ramp[int(value / 17 * len(ramp))] for value in row) for row in digits.images[-1]))
for answer in answers:
    print(f"   {answer['label']}  {answer['score']:.3f}")
print(f"   (a row of the data set; its label is {digits.target[-1]})")
print(f"""
Done. {folder} is a complete Hugging Face model repository: weights in safetensors, config, processor, model card with
the results above, figures. What to try next:
   open {folder}/README.md                                  the card, with figures beside it
   hubmodels train --model_name_or_path model_cards/cnn-fashion-mnist --dataset PATH_TO_YOUR_IMAGE_FOLDER
   hubmodels train --family mlp --task image-classification --dataset sklearn:digits
   hubmodels publish {folder} --repo_id YOUR_NAME/digits    upload, download again, verify (needs `hf auth login`)""")
