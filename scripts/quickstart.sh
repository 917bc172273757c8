#!/usr/bin/env bash
# The main job on real data, with nothing to download: fine-tune a released checkpoint on scikit-learn's handwritten
# digits, measure it beside the classical baseline, write the release folder, load it anywhere transformers runs.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
rm -rf runs/quickstart
echo
echo "1. Fine-tune model_cards/cnn-fashion-mnist (clothes) on handwritten digits:"
echo "   hubmodels train --model_name_or_path model_cards/cnn-fashion-mnist --dataset sklearn:digits \\"
echo "       --num_train_epochs 8 --output_dir runs/quickstart"
hubmodels train --model_name_or_path model_cards/cnn-fashion-mnist --dataset sklearn:digits \
    --num_train_epochs 8 --output_dir runs/quickstart
echo
echo "2. Load the release folder as any transformers user would, and classify an image:"
python scripts/quickstart.py runs/quickstart/release
