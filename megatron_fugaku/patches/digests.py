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
    "jit-fuser": {
        "0.15.3": "7f0329378a9852409a8384a98f03d67d0eca0336e96c3facfee53e831d576011",
        "0.16.0": "0de81ea1c3a8fd5bf1a880a1c3d3ddacd706b4df946c9016d563b5c14778a3ba",
        "0.16.1": "0de81ea1c3a8fd5bf1a880a1c3d3ddacd706b4df946c9016d563b5c14778a3ba",
    },
    "rng-set-state": {
        "0.15.3": "b179c9d95438b61c1d9b58e8e13cc6534f2ae2f870d991c42438de53829ed398",
        "0.16.0": "b179c9d95438b61c1d9b58e8e13cc6534f2ae2f870d991c42438de53829ed398",
        "0.16.1": "b179c9d95438b61c1d9b58e8e13cc6534f2ae2f870d991c42438de53829ed398",
    },
    "rng-fork": {
        "0.15.3": "a061d74c9479790a8751e7ca50e209e90a5d635672719bbe6af59a7b3e837499",
        "0.16.0": "d0dff9c6f8d383359e7d669372c3062c666bb018d17ea1e32d61eef86d255a83",
        "0.16.1": "d0dff9c6f8d383359e7d669372c3062c666bb018d17ea1e32d61eef86d255a83",
    },
    "schedules-cuda-literal": {
        "0.15.3": "475d4c584fad16c32a562da3eee9e2b23962764f7d1bdc999ccca5ed91011c26",
        "0.16.0": "e2bdb6f18cdd92011955312451b14e0dc3b734b774051712db776f44f9d06f18",
        "0.16.1": "e2bdb6f18cdd92011955312451b14e0dc3b734b774051712db776f44f9d06f18",
    },
    "causal-mask": {
        "0.15.3": "223e90f6a3733302f87443f1fb63d001eaef89572c0715150686610dc5f74096",
        "0.16.0": "4638b2c6665fc284592df1e01a55f8af25dbf21fdd06201e20de90427dcd8e6b",
        "0.16.1": "4638b2c6665fc284592df1e01a55f8af25dbf21fdd06201e20de90427dcd8e6b",
    },
    "tied-embeddings-cuda": {
        "0.15.3": "d4d07dc4b2da976eb079d0f755f1e858a5ad604d2e310f77866fe34a682554a6",
        "0.16.0": "66da0ab0e31f1b451794d924592eb9277f1cc8654f0cb4041d169f737cfc1058",
        "0.16.1": "66da0ab0e31f1b451794d924592eb9277f1cc8654f0cb4041d169f737cfc1058",
    },
    "clip-norm-cuda": {
        "0.15.3": "7fa2ba2493d43f1d3693ee62b5558ffccf3b0b2976bf746613187ff3bbc8b86f",
        "0.16.0": "7fa2ba2493d43f1d3693ee62b5558ffccf3b0b2976bf746613187ff3bbc8b86f",
        "0.16.1": "7fa2ba2493d43f1d3693ee62b5558ffccf3b0b2976bf746613187ff3bbc8b86f",
    },
    "clip-norm-order": {
        "0.15.3": "01526c55444a73bd00bebbf536bc92f9ac80eadca0cbbbfbd3a1d8c99cb07548",
        "0.16.0": "01526c55444a73bd00bebbf536bc92f9ac80eadca0cbbbfbd3a1d8c99cb07548",
        "0.16.1": "01526c55444a73bd00bebbf536bc92f9ac80eadca0cbbbfbd3a1d8c99cb07548",
    },
    "clip-scale-cuda": {
        "0.15.3": "8edb9da5365045a5d1c21c4ca81697412bbdbab725209db8df00dc90d03363e1",
        "0.16.0": "8edb9da5365045a5d1c21c4ca81697412bbdbab725209db8df00dc90d03363e1",
        "0.16.1": "8edb9da5365045a5d1c21c4ca81697412bbdbab725209db8df00dc90d03363e1",
    },
    "fp32-optimizer-cuda": {
        "0.15.3": "7784919811e79cf42f0ced98c45d7e0ade59df8cb9736a7b21fdc3e3737a6e4f",
        "0.16.0": "7784919811e79cf42f0ced98c45d7e0ade59df8cb9736a7b21fdc3e3737a6e4f",
        "0.16.1": "7784919811e79cf42f0ced98c45d7e0ade59df8cb9736a7b21fdc3e3737a6e4f",
    },
    "float16-optimizer-cuda": {
        "0.15.3": "fe98719f827f4f1ed8c1d1ccaacd5cd9248f22b92bc15e3376efed654c67ad7b",
        "0.16.0": "fe98719f827f4f1ed8c1d1ccaacd5cd9248f22b92bc15e3376efed654c67ad7b",
        "0.16.1": "fe98719f827f4f1ed8c1d1ccaacd5cd9248f22b92bc15e3376efed654c67ad7b",
    },
    "distributed-optimizer-cuda": {
        "0.15.3": "9065c18bc911627805d77e7a60a0328d50499f8c16c083079d2370b3094e4ef6",
        "0.16.0": "9065c18bc911627805d77e7a60a0328d50499f8c16c083079d2370b3094e4ef6",
        "0.16.1": "9065c18bc911627805d77e7a60a0328d50499f8c16c083079d2370b3094e4ef6",
    },
    "distributed-optimizer-state-cuda": {
        "0.15.3": "985a4860749fd7894aa65aa1094b5601e3c216e35811d2759fbf2eeb524e4abe",
        "0.16.0": "189887c765308b3f25c516d6694e9e824d917abcdd40b5d0df71704c56f38fe8",
        "0.16.1": "189887c765308b3f25c516d6694e9e824d917abcdd40b5d0df71704c56f38fe8",
    },
    "adam-class": {
        "0.15.3": "024bd45d1457b8312aab3e8d468d28874fa452d2bae4d64acbb0211bd93c1621",
        "0.16.0": "87c984430926fa239d48805e44a61d0a0c53337249a5f784cdf3564e76db6939",
        "0.16.1": "87c984430926fa239d48805e44a61d0a0c53337249a5f784cdf3564e76db6939",
    },
    "adam-is-fused": {
        "0.15.3": "024bd45d1457b8312aab3e8d468d28874fa452d2bae4d64acbb0211bd93c1621",
        "0.16.0": "87c984430926fa239d48805e44a61d0a0c53337249a5f784cdf3564e76db6939",
        "0.16.1": "87c984430926fa239d48805e44a61d0a0c53337249a5f784cdf3564e76db6939",
    },
    "distributed-adam-class": {
        "0.15.3": "4811a1ed0b02c6a204ca7f4cfaaca29622710c95b1c0a69eb869b81fd6a8ef87",
        "0.16.0": "1d55757dad110e52d66ca98bb5b2b6984c7033dd97572bd8b2c260a7de877431",
        "0.16.1": "1d55757dad110e52d66ca98bb5b2b6984c7033dd97572bd8b2c260a7de877431",
    },
    "distributed-adam-is-fused": {
        "0.15.3": "4811a1ed0b02c6a204ca7f4cfaaca29622710c95b1c0a69eb869b81fd6a8ef87",
        "0.16.0": "1d55757dad110e52d66ca98bb5b2b6984c7033dd97572bd8b2c260a7de877431",
        "0.16.1": "1d55757dad110e52d66ca98bb5b2b6984c7033dd97572bd8b2c260a7de877431",
    },
    "distributed-adam-is-apex": {
        "0.15.3": "4811a1ed0b02c6a204ca7f4cfaaca29622710c95b1c0a69eb869b81fd6a8ef87",
        "0.16.0": "1d55757dad110e52d66ca98bb5b2b6984c7033dd97572bd8b2c260a7de877431",
        "0.16.1": "1d55757dad110e52d66ca98bb5b2b6984c7033dd97572bd8b2c260a7de877431",
    },
    "save-results-queue": {
        "0.15.3": "349269cbdd569d41032d20cdb858316d492096999e7a05dd2d1ccde6ae9d7d95",
        "0.16.0": "349269cbdd569d41032d20cdb858316d492096999e7a05dd2d1ccde6ae9d7d95",
        "0.16.1": "349269cbdd569d41032d20cdb858316d492096999e7a05dd2d1ccde6ae9d7d95",
    },
    "save-in-process": {
        "0.15.3": "c6477519938bea8ce4a850feca6a9c99c7fec6a13cd0941d00139271cbdbea39",
        "0.16.0": "c6477519938bea8ce4a850feca6a9c99c7fec6a13cd0941d00139271cbdbea39",
        "0.16.1": "c6477519938bea8ce4a850feca6a9c99c7fec6a13cd0941d00139271cbdbea39",
    },
    "cuda-device-count": {
        "2.10.0": "c7fd457e1134ece0c9f9f67f4a7f94b52ce0dea04db572f66e7967f6961d84b1",
        "2.11.0": "c7fd457e1134ece0c9f9f67f4a7f94b52ce0dea04db572f66e7967f6961d84b1",
        "2.12.0": "efd183354fc3ec67c8086182f95e516590ebf34615866e9321055ca6b7513ab0",
        "2.13.0": "efd183354fc3ec67c8086182f95e516590ebf34615866e9321055ca6b7513ab0",
    },
    "cuda-set-device": {
        "2.10.0": "31285f706348ab09d1b3cc67fe21158bafad16763db0466cb3223884f958f804",
        "2.11.0": "86c6d0bf42224be6dc806c4e52c9f0e47b062851ca3d65cff0983081333bfa6c",
        "2.12.0": "86c6d0bf42224be6dc806c4e52c9f0e47b062851ca3d65cff0983081333bfa6c",
        "2.13.0": "86c6d0bf42224be6dc806c4e52c9f0e47b062851ca3d65cff0983081333bfa6c",
    },
    "cuda-set-rng-state": {
        "2.10.0": "196897dc0c2f88e07c7c02e584abfb9c810f45519307339f3637fc975a3e5da7",
        "2.11.0": "2aaed350f20b85692706aa0c08d6a57597b8d50065fa05149e3d6255c68e2de8",
        "2.12.0": "2aaed350f20b85692706aa0c08d6a57597b8d50065fa05149e3d6255c68e2de8",
        "2.13.0": "2aaed350f20b85692706aa0c08d6a57597b8d50065fa05149e3d6255c68e2de8",
    },
    "cuda-manual-seed-all": {
        "2.10.0": "e9489253dd7c94fa244053c0430310b3617b25d5554cc22399f4313bea71be7b",
        "2.11.0": "e9489253dd7c94fa244053c0430310b3617b25d5554cc22399f4313bea71be7b",
        "2.12.0": "e9489253dd7c94fa244053c0430310b3617b25d5554cc22399f4313bea71be7b",
        "2.13.0": "e9489253dd7c94fa244053c0430310b3617b25d5554cc22399f4313bea71be7b",
    },
    "cuda-reset-peak-memory": {
        "2.10.0": "766ce5a529a5c05ebc3fa2a96598b9019f7ac818aae36bde35cd7e1319b1abc2",
        "2.11.0": "766ce5a529a5c05ebc3fa2a96598b9019f7ac818aae36bde35cd7e1319b1abc2",
        "2.12.0": "766ce5a529a5c05ebc3fa2a96598b9019f7ac818aae36bde35cd7e1319b1abc2",
        "2.13.0": "766ce5a529a5c05ebc3fa2a96598b9019f7ac818aae36bde35cd7e1319b1abc2",
    },
    "cuda-nvtx-push": {
        "2.10.0": "8d3e0eb4b342e8cd8c7abf05e5fe9248d9dba7b7a481295f80589acfc620e1f1",
        "2.11.0": "8d3e0eb4b342e8cd8c7abf05e5fe9248d9dba7b7a481295f80589acfc620e1f1",
        "2.12.0": "8d3e0eb4b342e8cd8c7abf05e5fe9248d9dba7b7a481295f80589acfc620e1f1",
        "2.13.0": "8d3e0eb4b342e8cd8c7abf05e5fe9248d9dba7b7a481295f80589acfc620e1f1",
    },
    "cuda-nvtx-pop": {
        "2.10.0": "1843ba3dbe36d339a85b0f00d7c731096dec2622fa594d6bbf5c308cea2d14d5",
        "2.11.0": "1843ba3dbe36d339a85b0f00d7c731096dec2622fa594d6bbf5c308cea2d14d5",
        "2.12.0": "1843ba3dbe36d339a85b0f00d7c731096dec2622fa594d6bbf5c308cea2d14d5",
        "2.13.0": "1843ba3dbe36d339a85b0f00d7c731096dec2622fa594d6bbf5c308cea2d14d5",
    },
    "cuda-stream-class": {
        "2.10.0": "1b94a875b820c35b7f51a885106cbc733a1bf50eea8fe388e4993a19107f671c",
        "2.11.0": "f5b9547b46603680f258ece322087387efb052912ca40ccb3e0ece06d33687f8",
        "2.12.0": "f5b9547b46603680f258ece322087387efb052912ca40ccb3e0ece06d33687f8",
        "2.13.0": "f5b9547b46603680f258ece322087387efb052912ca40ccb3e0ece06d33687f8",
    },
    "cuda-event-class": {
        "2.10.0": "b18635998e07df55d809e74e6327c4a2b992a0f9b2cea7925051007055833849",
        "2.11.0": "f5fe051e2c600d1f3efe70f0832291b411b8ad2371a3adf2b1370851a8088e9a",
        "2.12.0": "f5fe051e2c600d1f3efe70f0832291b411b8ad2371a3adf2b1370851a8088e9a",
        "2.13.0": "cc34c59c482fb9cc0b153ea1b94fc880b7a5b95a13eabd9a1377329c4a072a04",
    },
    "cuda-current-stream": {
        "2.10.0": "bbd210f76c574cfc36a37f2e2ba15534e42576d106b6951a981d0ad6d3ba74fb",
        "2.11.0": "ca5387f64ee12c986c8211e4e9e96b021773ad7cb36594d3ef7eda61ec6f10cd",
        "2.12.0": "ca5387f64ee12c986c8211e4e9e96b021773ad7cb36594d3ef7eda61ec6f10cd",
        "2.13.0": "ca5387f64ee12c986c8211e4e9e96b021773ad7cb36594d3ef7eda61ec6f10cd",
    },
    "cuda-default-stream": {
        "2.10.0": "83abba0b29b54c92a12eb36a17e0a7ab83533fe474fcd33e93bd17c98577f5fd",
        "2.11.0": "b0a2135268c651cacc78703c142b8d80b1263a9500acf8a667272e5a4b8759b8",
        "2.12.0": "b0a2135268c651cacc78703c142b8d80b1263a9500acf8a667272e5a4b8759b8",
        "2.13.0": "b0a2135268c651cacc78703c142b8d80b1263a9500acf8a667272e5a4b8759b8",
    },
    "cuda-stream-context": {
        "2.10.0": "a701c622b6f531dc21a55abc42d31e7305a211ad93234c7744bec6801d1307b0",
        "2.11.0": "a701c622b6f531dc21a55abc42d31e7305a211ad93234c7744bec6801d1307b0",
        "2.12.0": "a701c622b6f531dc21a55abc42d31e7305a211ad93234c7744bec6801d1307b0",
        "2.13.0": "a701c622b6f531dc21a55abc42d31e7305a211ad93234c7744bec6801d1307b0",
    },
    "cuda-set-stream": {
        "2.10.0": "953d898f375890d385f124722ce2c311008ff96b4aef0d383b0cb5c982d1c8e6",
        "2.11.0": "6f7a1ab4ffc3f51f645ba212a4c803cfb89b437b5db86bd1f5afd513a9537bce",
        "2.12.0": "6f7a1ab4ffc3f51f645ba212a4c803cfb89b437b5db86bd1f5afd513a9537bce",
        "2.13.0": "6f7a1ab4ffc3f51f645ba212a4c803cfb89b437b5db86bd1f5afd513a9537bce",
    },
    "cuda-float-tensor": {
        "2.10.0": "0161199fa03888a8744550727d1026a82f140c8dd31b265a26b41115f7dc857d",
        "2.11.0": "9d6ebdf17ea55ae566dc01682878645ab870f96d613d1ef8ad31c317b5400c12",
        "2.12.0": "ed6c91be597b2fc1b9ec9be05a12c7db38f68f9d40c3527c1912e7b8c5c14979",
        "2.13.0": "0dd55462968d927ea2dc58da0401688b151354c448c097b12c6e4e0560a66541",
    },
    "cuda-half-tensor": {
        "2.10.0": "0161199fa03888a8744550727d1026a82f140c8dd31b265a26b41115f7dc857d",
        "2.11.0": "9d6ebdf17ea55ae566dc01682878645ab870f96d613d1ef8ad31c317b5400c12",
        "2.12.0": "ed6c91be597b2fc1b9ec9be05a12c7db38f68f9d40c3527c1912e7b8c5c14979",
        "2.13.0": "0dd55462968d927ea2dc58da0401688b151354c448c097b12c6e4e0560a66541",
    },
    "cuda-bfloat16-tensor": {
        "2.10.0": "0161199fa03888a8744550727d1026a82f140c8dd31b265a26b41115f7dc857d",
        "2.11.0": "9d6ebdf17ea55ae566dc01682878645ab870f96d613d1ef8ad31c317b5400c12",
        "2.12.0": "ed6c91be597b2fc1b9ec9be05a12c7db38f68f9d40c3527c1912e7b8c5c14979",
        "2.13.0": "0dd55462968d927ea2dc58da0401688b151354c448c097b12c6e4e0560a66541",
    },
    "cuda-int-tensor": {
        "2.10.0": "0161199fa03888a8744550727d1026a82f140c8dd31b265a26b41115f7dc857d",
        "2.11.0": "9d6ebdf17ea55ae566dc01682878645ab870f96d613d1ef8ad31c317b5400c12",
        "2.12.0": "ed6c91be597b2fc1b9ec9be05a12c7db38f68f9d40c3527c1912e7b8c5c14979",
        "2.13.0": "0dd55462968d927ea2dc58da0401688b151354c448c097b12c6e4e0560a66541",
    },
    "cuda-long-tensor": {
        "2.10.0": "0161199fa03888a8744550727d1026a82f140c8dd31b265a26b41115f7dc857d",
        "2.11.0": "9d6ebdf17ea55ae566dc01682878645ab870f96d613d1ef8ad31c317b5400c12",
        "2.12.0": "ed6c91be597b2fc1b9ec9be05a12c7db38f68f9d40c3527c1912e7b8c5c14979",
        "2.13.0": "0dd55462968d927ea2dc58da0401688b151354c448c097b12c6e4e0560a66541",
    },
    "deepspeed-accelerator": {
        "0.19.8": "878a8ca06b030c458d5104859b278e7d8a90a207fc429b632516915bd15e9fa9",
    },
    "deepspeed-clip-fp32": {
        "0.19.8": "72d40c7656c277617eddfc666fb02f76df36c37c808009dc54cf7506fe89c70f",
    },
    "mds-knn-monitor": {
        "2025.7.16": "9598e322df4710529a4f9135c3860ecd981f60492499fc3487c7abc1b63466a6",
    },
    "mds-compression": {
        "2025.7.16": "42e6afe0571bc3f801deb993f93e8efaf2921da3b2a8e0516cc2ff176eac0f83",
    },
    "mds-options": {
        "2025.7.16": "19001caeb09e52a35680b3f0465f1856c0556d8c95b8529dc63bba30a5bdea4c",
    },
    "mds-tokenizer": {
        "2025.7.16": "d7f3d2e76c4465c9ebc2df8828b57b1029d1c6d2aed5a5a9b74ff12cda052028",
    },
    "mds-core-attention": {
        "2025.7.16": "0268462a6a780451f13def6b9ac7c544015ba9d0c6596398c3d24f7854585313",
    },
    "mds-rotary": {
        "2025.7.16": "cb1f8d9b0558c1b56fe89c16596862ec8de13e983713435217480a711b2ad823",
    },
    "mds-rotary-attention": {
        "2025.7.16": "7fa8e7f8ccd7b989f0e19e53e2323593ca12315def876caf72936ea41dcc631d",
    },
    "mds-rotary-apply": {
        "2025.7.16": "c018287eca93a7ffd8ab0b58359873bea571548d7a566edccf13835f67a52eb3",
    },
    "mds-layer-norm": {
        "2025.7.16": "64dc7f3a3ed311ecd81f1e6e050c7903f6779b4862331a476dd6fff828aae7ea",
    },
    "mds-bert-forward": {
        "2025.7.16": "6b5fa69f6a716f5d58dc7ac989af6a39d07a7f690fb1909158df73dfc24e7036",
    },
    "mds-t5-forward": {
        "2025.7.16": "8722b670f8dbdd80d563713313fbe1ce4a5232fbf50d70eb64502e9a09795b3d",
    },
    "mds-t5-head": {
        "2025.7.16": "2e6f0bfd6d79c20951219d8ae5165424493863b31e9f59725c7eb412efedde8d",
    },
    "mds-generation": {
        "2025.7.16": "136e3d2c8210021f1e2cf10fa959f2df0408b9bd665f6cbb0b87a5ee3a7e4418",
    },
    "mds-param-groups": {
        "2025.7.16": "6aeb8983a1e0c06b4a6c07edfa9d5e7619ddfd47c334ff8ecf1078bfe84bca78",
    },
    "mds-clip-grads": {
        "2025.7.16": "442ca34c095d347bc7b0c419e9455414b338fce7fd5727a77adeec3eef61df4a",
    },
    "mds-distributed-optimizer": {
        "2025.7.16": "08f72e271b4269f6387edbdde8cb181554d1f730b60029cc450262cb514119ae",
    },
    "mlm-arguments": {
        "0.16.1": "81ee542d990f51d2eb977e192201eb9a43d2046ff9ca4749c6dc34a35d9062e9",
    },
    "mlm-initialize": {
        "0.16.1": "6e648d8973893cd9622b5aceebb96780a5b2094c0e54028c1d3e4871530cf143",
    },
    "mlm-fused-kernels": {
        "0.16.1": "93b7530b896345a23434ad22ea2b2d19b89e2b0eca03c92681618f705706f58e",
    },
    "mlm-jit-warmup": {
        "0.16.1": "2bbb86ed28595f092680be4e144c7f0ee51d00964fb93cde952c9c0ac533d653",
    },
    "mlm-arch-version": {
        "0.16.1": "b7e375abfdb1f4f5b5c237090bd1df62a0fdcc1db8326564391c6d38899a09b6",
    },
    "core-torch-norm": {
        "0.15.3": "0e6cdcbebb8fc3b324b2f30378ec1568b7cca35b590f2f4395c3f26411d19c66",
        "0.16.0": "0e6cdcbebb8fc3b324b2f30378ec1568b7cca35b590f2f4395c3f26411d19c66",
        "0.16.1": "0e6cdcbebb8fc3b324b2f30378ec1568b7cca35b590f2f4395c3f26411d19c66",
    },
    "mds-train-step": {
        "2025.7.16": "0d33848f4864464b256c3e020416d7ac2771b00862cb0bf0ffe946f8a51e5528",
    },
    "mds-get-model": {
        "2025.7.16": "ad675e177696216c37c211af974d723b0ac8671b6b5cae3a6e0f5e255f053bc7",
    },
    "mds-index-mappings": {
        "2025.7.16": "aede0bcc94082ed4fca47d059f8e1a4ca2abd7bf74d801b963d64d38c3f9e4c8",
    },
    "mds-timers": {
        "2025.7.16": "1ad80d659c7325d596faa326708cb090412ba197d3a7f3c10ac3dce40b7ecfba",
    },
    "mds-adam": {
        "2025.7.16": "884e26212fb94b009143423e35d7555e2296c007d8989ab006292f98564170d1",
    },
    "mds-distributed-adam": {
        "2025.7.16": "2fa884dd396fa41fda029752de4a3d8636f9de80ff67f5cb7252eb5d4ceafb31",
    },
    "mds-fp32-step": {
        "2025.7.16": "2619f94f63e4ea37d02a167dd8f99c112673a05b73b5c4c9ccc089eccaafe9de",
    },
    "mds-mixed-step": {
        "2025.7.16": "0fa182c333de9614aa2444b5a881b817b60436b59472f12e5b9956fe23f85e05",
    },
    "mds-load-base": {
        "2025.7.16": "cd863ce198e829565c9dccffcc01a3f611bd498a3705c8f9c15a6bb923f4c137",
    },
    "mds-load": {
        "2025.7.16": "e364a3c29d57942911fb5833ba62d2ef9b09efdd9f9ce8591f3512053aabf1d4",
    },
    "mds-experts-per-layer": {
        "2025.7.16": "b79ec24be2c902d34d7ff33950f6d7f7764c5519fe00565f976f7f0ab2294643",
    },
    "core-batch-invariant": {
        "0.16.0": "ffa26d6d1e172a0c500a35d793b0462190b2edcc89539f195eef0c1a6f648e0c",
        "0.16.1": "ffa26d6d1e172a0c500a35d793b0462190b2edcc89539f195eef0c1a6f648e0c",
    },
    "mds-compile-helper": {
        "2025.7.16": "06abdde96fe188fc3544677c82d886bfeb3514a8f144128793fc7fe05722062d",
    },
    "core-compile-helpers": {
        "0.15.3": "84029a50ae8cfac18dfe03efaf3c3977e82d3a51682ae4d410616b4c01f16f63",
        "0.16.0": "84029a50ae8cfac18dfe03efaf3c3977e82d3a51682ae4d410616b4c01f16f63",
        "0.16.1": "84029a50ae8cfac18dfe03efaf3c3977e82d3a51682ae4d410616b4c01f16f63",
    },
    "core-load-fp32": {
        "0.15.3": "0f5b599c6cb16c507c153e85a06328beeb27650b507b704cf28fac6c573f1fbc",
        "0.16.0": "0f5b599c6cb16c507c153e85a06328beeb27650b507b704cf28fac6c573f1fbc",
        "0.16.1": "0f5b599c6cb16c507c153e85a06328beeb27650b507b704cf28fac6c573f1fbc",
    },
}
