"""From packages and files to Megatron tokens: corpus → tokenizer → tokens → manifest.

Each stage writes one folder and can be run and resumed alone (:mod:`megatron_fugaku.data.pipeline`).
"""
