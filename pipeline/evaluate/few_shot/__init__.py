"""How much a pre-trained embedding saves in labels: probes, fine-tuning and episodes of few shots."""
