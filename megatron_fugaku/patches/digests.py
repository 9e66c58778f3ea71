"""SHA-256 of every patched source, by the version in which a person has read it.

``mfugaku patches digests`` prints the lines for what is installed. A new version is a new entry beside the old ones,
made after reading what changed.
"""

from __future__ import annotations

DIGESTS: dict[str, dict[str, str]] = {
    "cuda-current-device": {
        "2.10.0": "6e9804168a5c7f8c0a4e16ce292ac415132e68d9479397c61dddda2329f05259",
        "2.11.0": "6e9804168a5c7f8c0a4e16ce292ac415132e68d9479397c61dddda2329f05259",
        "2.12.0": "6e9804168a5c7f8c0a4e16ce292ac415132e68d9479397c61dddda2329f05259",
        "2.13.0": "6e9804168a5c7f8c0a4e16ce292ac415132e68d9479397c61dddda2329f05259",
    },
    "cuda-synchronize": {
        "2.10.0": "3abd3d63ffe8d326b7121a3a5b16515cf2e6f7ce4d725f67d6a7614c302bd5a3",
        "2.11.0": "7055e6143ffee8f141c9900a7b5dd69345e841a3e14c0be02af277f347232dcd",
        "2.12.0": "7055e6143ffee8f141c9900a7b5dd69345e841a3e14c0be02af277f347232dcd",
        "2.13.0": "7055e6143ffee8f141c9900a7b5dd69345e841a3e14c0be02af277f347232dcd",
    },
    "cuda-manual-seed": {
        "2.10.0": "a71497712eba81c903e16f4aa3ba5a51b045b1d4aa9ac981c006878ca8aada20",
        "2.11.0": "a71497712eba81c903e16f4aa3ba5a51b045b1d4aa9ac981c006878ca8aada20",
        "2.12.0": "a71497712eba81c903e16f4aa3ba5a51b045b1d4aa9ac981c006878ca8aada20",
        "2.13.0": "a71497712eba81c903e16f4aa3ba5a51b045b1d4aa9ac981c006878ca8aada20",
    },
    "cuda-get-rng-state": {
        "2.10.0": "a3c99f160e28b2044873409ef1aa5b7fcaa179da11f9fb44d71cbc9ed6deb31d",
        "2.11.0": "1190f97901d79384e381f97b50186090d52ee9dd06dbedec9349f270af938219",
        "2.12.0": "1190f97901d79384e381f97b50186090d52ee9dd06dbedec9349f270af938219",
        "2.13.0": "1190f97901d79384e381f97b50186090d52ee9dd06dbedec9349f270af938219",
    },
    "cuda-random-get-rng-state": {
        "2.10.0": "a3c99f160e28b2044873409ef1aa5b7fcaa179da11f9fb44d71cbc9ed6deb31d",
        "2.11.0": "1190f97901d79384e381f97b50186090d52ee9dd06dbedec9349f270af938219",
        "2.12.0": "1190f97901d79384e381f97b50186090d52ee9dd06dbedec9349f270af938219",
        "2.13.0": "1190f97901d79384e381f97b50186090d52ee9dd06dbedec9349f270af938219",
    },
    "jit-fuser": {"0.16.1": "0de81ea1c3a8fd5bf1a880a1c3d3ddacd706b4df946c9016d563b5c14778a3ba"},
    "rng-set-state": {"0.16.1": "b179c9d95438b61c1d9b58e8e13cc6534f2ae2f870d991c42438de53829ed398"},
    "rng-fork": {"0.16.1": "d0dff9c6f8d383359e7d669372c3062c666bb018d17ea1e32d61eef86d255a83"},
    "schedules-cuda-literal": {"0.16.1": "e2bdb6f18cdd92011955312451b14e0dc3b734b774051712db776f44f9d06f18"},
    "causal-mask": {"0.16.1": "4638b2c6665fc284592df1e01a55f8af25dbf21fdd06201e20de90427dcd8e6b"},
    "tied-embeddings-cuda": {"0.16.1": "66da0ab0e31f1b451794d924592eb9277f1cc8654f0cb4041d169f737cfc1058"},
    "clip-norm-cuda": {"0.16.1": "7fa2ba2493d43f1d3693ee62b5558ffccf3b0b2976bf746613187ff3bbc8b86f"},
    "clip-norm-order": {"0.16.1": "01526c55444a73bd00bebbf536bc92f9ac80eadca0cbbbfbd3a1d8c99cb07548"},
    "clip-scale-cuda": {"0.16.1": "8edb9da5365045a5d1c21c4ca81697412bbdbab725209db8df00dc90d03363e1"},
    "fp32-optimizer-cuda": {"0.16.1": "7784919811e79cf42f0ced98c45d7e0ade59df8cb9736a7b21fdc3e3737a6e4f"},
    "float16-optimizer-cuda": {"0.16.1": "fe98719f827f4f1ed8c1d1ccaacd5cd9248f22b92bc15e3376efed654c67ad7b"},
    "distributed-optimizer-cuda": {"0.16.1": "9065c18bc911627805d77e7a60a0328d50499f8c16c083079d2370b3094e4ef6"},
    "distributed-optimizer-state-cuda": {"0.16.1": "189887c765308b3f25c516d6694e9e824d917abcdd40b5d0df71704c56f38fe8"},
    "adam-class": {"0.16.1": "87c984430926fa239d48805e44a61d0a0c53337249a5f784cdf3564e76db6939"},
    "adam-is-fused": {"0.16.1": "87c984430926fa239d48805e44a61d0a0c53337249a5f784cdf3564e76db6939"},
    "distributed-adam-class": {"0.16.1": "1d55757dad110e52d66ca98bb5b2b6984c7033dd97572bd8b2c260a7de877431"},
    "distributed-adam-is-fused": {"0.16.1": "1d55757dad110e52d66ca98bb5b2b6984c7033dd97572bd8b2c260a7de877431"},
    "distributed-adam-is-apex": {"0.16.1": "1d55757dad110e52d66ca98bb5b2b6984c7033dd97572bd8b2c260a7de877431"},
    "save-results-queue": {"0.16.1": "349269cbdd569d41032d20cdb858316d492096999e7a05dd2d1ccde6ae9d7d95"},
    "save-in-process": {"0.16.1": "c6477519938bea8ce4a850feca6a9c99c7fec6a13cd0941d00139271cbdbea39"},
}
