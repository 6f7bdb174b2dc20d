"""The fuzzer's seeds: one small good file of every container, transfer syntax and way to grey."""

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset

from tests.unit.imaging import samples

ROWS, COLS = 34, 33


def good_files() -> list[bytes]:
    """Return files that all decode under the default settings."""
    eight, twelve, sixteen = (samples.pixels(b, ROWS, COLS) for b in (8, 12, 16))
    signed = samples.pixels(12, ROWS, COLS, signed=True)
    lut = Dataset()
    lut.LUTDescriptor = [64, 0, 16]
    lut.add_new("LUTData", "US", [i * 1000 for i in range(64)])
    lut.ModalityLUTType = "US"
    plain = [
        samples.png(sixteen),
        samples.png(eight),
        samples.png(np.dstack([sixteen] * 3)),
        samples.png(np.dstack([eight] * 3 + [np.full_like(eight, 255)])),
        samples.jpeg(eight),
        samples.jpeg(np.dstack([eight] * 3)),
        samples.progressive_jpeg(eight),
        samples.write(
            samples.dataset(twelve, WindowCenter=2000, WindowWidth=3000, RescaleSlope=-1, RescaleIntercept=4095)
        ),
        samples.write(
            samples.dataset(signed, PixelPaddingValue=-2048, VOILUTFunction="SIGMOID", WindowCenter=1, WindowWidth=9)
        ),
        samples.write(samples.dataset(eight // 4, 6, ModalityLUTSequence=[lut], VOILUTSequence=[lut])),
        samples.write(samples.dataset(twelve), uid.ImplicitVRLittleEndian),
        samples.write(samples.dataset(twelve), uid.ImplicitVRLittleEndian)[132:],
        samples.write(samples.dataset(twelve), uid.DeflatedExplicitVRLittleEndian),
        samples.write(samples.dataset(twelve, PixelData=twelve.astype(">u2").tobytes()), uid.ExplicitVRBigEndian),
    ]
    packed = [samples.compressed(twelve, s) for s in samples.LOSSLESS + samples.LOSSY if s != uid.JPEGBaseline8Bit]
    packed += [samples.compressed(eight, s, 8) for s in (uid.JPEGBaseline8Bit, uid.JPEGLSLossless, uid.RLELossless)]
    return plain + packed + [samples.compressed(signed, s) for s in (uid.JPEGLossless, uid.JPEG2000Lossless)]
