"""Citations of a run: its method, its network, and nnU-Net."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .run import Run


@dataclass(frozen=True)
class Paper:
    """A publication."""

    apa: str
    bibtex: str


CHEN = Paper(
    "Chen, L., Bentley, P., Mori, K., Misawa, K., Fujiwara, M., & Rueckert, D. (2019). Self-supervised learning for "
    "medical image analysis using image context restoration. Medical Image Analysis, 58, 101539.",
    """@article{chen2019context,
  author = {Chen, Liang and Bentley, Paul and Mori, Kensaku and Misawa, Kazunari and Fujiwara, Michitaka and
            Rueckert, Daniel},
  title = {Self-supervised learning for medical image analysis using image context restoration},
  journal = {Medical Image Analysis},
  volume = {58},
  pages = {101539},
  year = {2019},
  doi = {10.1016/j.media.2019.101539}
}""",
)
PATHAK = Paper(
    "Pathak, D., Krähenbühl, P., Donahue, J., Darrell, T., & Efros, A. A. (2016). Context encoders: Feature learning "
    "by inpainting. CVPR, 2536-2544.",
    """@inproceedings{pathak2016context,
  author = {Pathak, Deepak and Kr{\\"a}henb{\\"u}hl, Philipp and Donahue, Jeff and Darrell, Trevor and
            Efros, Alexei A.},
  title = {Context Encoders: Feature Learning by Inpainting},
  booktitle = {Proceedings of the IEEE Conference on Computer Vision and Pattern Recognition (CVPR)},
  pages = {2536--2544},
  year = {2016}
}""",
)
DOERSCH = Paper(
    "Doersch, C., Gupta, A., & Efros, A. A. (2015). Unsupervised visual representation learning by context prediction. "
    "ICCV, 1422-1430.",
    """@inproceedings{doersch2015context,
  author = {Doersch, Carl and Gupta, Abhinav and Efros, Alexei A.},
  title = {Unsupervised Visual Representation Learning by Context Prediction},
  booktitle = {Proceedings of the IEEE International Conference on Computer Vision (ICCV)},
  pages = {1422--1430},
  year = {2015}
}""",
)
NOROOZI = Paper(
    "Noroozi, M., & Favaro, P. (2016). Unsupervised learning of visual representations by solving jigsaw puzzles. "
    "ECCV, 69-84.",
    """@inproceedings{noroozi2016jigsaw,
  author = {Noroozi, Mehdi and Favaro, Paolo},
  title = {Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles},
  booktitle = {European Conference on Computer Vision (ECCV)},
  pages = {69--84},
  year = {2016}
}""",
)
HE = Paper(
    "He, K., Chen, X., Xie, S., Li, Y., Dollár, P., & Girshick, R. (2022). Masked autoencoders are scalable vision "
    "learners. CVPR, 16000-16009.",
    """@inproceedings{he2022masked,
  author = {He, Kaiming and Chen, Xinlei and Xie, Saining and Li, Yanghao and Doll{\\'a}r, Piotr and Girshick, Ross},
  title = {Masked Autoencoders Are Scalable Vision Learners},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  pages = {16000--16009},
  year = {2022}
}""",
)
WALD = Paper(
    "Wald, T., Ulrich, C., Lukyanenko, S., Goncharov, A., Paderno, A., Miller, M., Maerkisch, L., Jaeger, P., & "
    "Maier-Hein, K. (2025). Revisiting MAE pre-training for 3D medical image segmentation. CVPR, 5186-5196.",
    """@inproceedings{wald2025revisiting,
  author = {Wald, Tassilo and Ulrich, Constantin and Lukyanenko, Stanislav and Goncharov, Andrei and Paderno, Alberto
            and Miller, Maximilian and Maerkisch, Leander and Jaeger, Paul and Maier-Hein, Klaus},
  title = {Revisiting {MAE} Pre-training for {3D} Medical Image Segmentation},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  pages = {5186--5196},
  year = {2025}
}""",
)
ZHOU = Paper(
    "Zhou, H.-Y., Lu, C., Chen, C., Yang, S., & Yu, Y. (2023). A unified visual information preservation framework for "
    "self-supervised pre-training in medical image analysis. IEEE TPAMI, 45(7), 8020-8035.",
    """@article{zhou2023unified,
  author = {Zhou, Hong-Yu and Lu, Chixiang and Chen, Chaoqi and Yang, Sibei and Yu, Yizhou},
  title = {A Unified Visual Information Preservation Framework for Self-supervised Pre-training in Medical Image
           Analysis},
  journal = {IEEE Transactions on Pattern Analysis and Machine Intelligence},
  volume = {45},
  number = {7},
  pages = {8020--8035},
  year = {2023}
}""",
)
ISENSEE = Paper(
    "Isensee, F., Jaeger, P. F., Kohl, S. A., Petersen, J., & Maier-Hein, K. H. (2021). nnU-Net: a self-configuring "
    "method for deep learning-based biomedical image segmentation. Nature Methods, 18(2), 203-211.",
    """@article{isensee2021nnunet,
  author = {Isensee, Fabian and Jaeger, Paul F. and Kohl, Simon A. A. and Petersen, Jens and Maier-Hein, Klaus H.},
  title = {{nnU-Net}: a self-configuring method for deep learning-based biomedical image segmentation},
  journal = {Nature Methods},
  volume = {18},
  number = {2},
  pages = {203--211},
  year = {2021}
}""",
)

REVISITED = Paper(
    "Isensee, F., Wald, T., Ulrich, C., Baumgartner, M., Roy, S., Maier-Hein, K., & Jaeger, P. F. (2024). nnU-Net "
    "revisited: A call for rigorous validation in 3D medical image segmentation. MICCAI. arXiv:2404.09556.",
    """@inproceedings{isensee2024revisited,
  author = {Isensee, Fabian and Wald, Tassilo and Ulrich, Constantin and Baumgartner, Michael and Roy, Saikat and
            Maier-Hein, Klaus and Jaeger, Paul F.},
  title = {{nnU-Net} Revisited: A Call for Rigorous Validation in {3D} Medical Image Segmentation},
  booktitle = {Medical Image Computing and Computer Assisted Intervention (MICCAI)},
  year = {2024},
  eprint = {2404.09556},
  archivePrefix = {arXiv}
}""",
)

METHODS: dict[str, tuple[str, tuple[Paper, ...]]] = {
    "swap": ("context restoration", (CHEN,)),
    "inpaint": ("context encoder", (PATHAK,)),
    "autoencode": ("autoencoder", ()),
    "mae": ("masked autoencoder", (HE, WALD)),
    "position": ("relative position", (DOERSCH,)),
    "jigsaw": ("jigsaw", (NOROOZI,)),
    "pcrlv2": ("PCRLv2", (ZHOU,)),
}
"""Name and papers by `Run.method`."""


def cite(run: Run) -> list[dict[str, Any]]:
    """Return the citations of a run in the form that nnU-Net prints at the start of a training.

    Raises
    ------
    ValueError
        If the run's method has no entry in `METHODS`.
    """
    if run.method not in METHODS:
        raise ValueError(f"citations: expected one of the methods {', '.join(METHODS)}, got {run.method}")
    name, papers = METHODS[run.method]
    residual = (REVISITED,) if str(run.about["network"]).startswith("resenc") else ()
    entries = [
        ("Pre-training method", name, papers),
        ("Network", "residual encoder U-Net", residual),
        ("Framework", "nnU-Net", (ISENSEE,)),
    ]
    return [
        {
            "type": kind,
            "name": called,
            "apa_citations": [paper.apa for paper in cited],
            "bibtex_citations": [paper.bibtex for paper in cited],
        }
        for kind, called, cited in entries
        if cited
    ]
