"""Photos in, galleries for report.html out: thumbnails with what is said of each, as HTML."""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

from serving.images.decode import decode
from train.photos.folders import printable

_THUMBNAIL_PX = 240
ANY_PIXELS = 2**31  # a mistake is a photo that was decoded before
_LOOK_HERE = "<p>Look here for broken and mislabelled photos.</p>\n"


@dataclass(frozen=True, slots=True)
class Mistake:
    """A misclassified photo, how sure the model was (probabilities, 0..1), and a picture of which
    parts spoke for the prediction; empty if the model cannot say.
    """

    photo: Path
    label: str
    predicted: str
    probability: float
    label_probability: float
    map_uri: str = ""

    @property
    def name(self) -> str:
        """The file's name without its folder, as printable text."""
        return printable(Path(self.photo.name))

    def to_json(self) -> dict[str, Any]:
        """The mistake as JSON values, without the file's folder."""
        return {
            "photo": self.name,
            "label": self.label,
            "predicted": self.predicted,
            "probability": self.probability,
            "label_probability": self.label_probability,
        }


@dataclass(frozen=True, slots=True)
class Stranger:
    """A photo that is little like the training photos: broken and mislabelled ones are among them.

    `familiarity`: above 0 and at most 1.
    """

    photo: Path
    split: str
    label: str
    familiarity: float


def worst(mistakes: Sequence[Mistake]) -> str:
    """The section of mistakes."""
    if not mistakes:
        return "<p>None: every photo was classified correctly.</p>"
    legend = "Orange parts spoke for what the model called it, blue ones against it."
    shown = f'<p class="soft">{legend}</p>\n' if mistakes[0].map_uri else ""
    return shown + _photos((m.photo, m.label, _said(m)) for m in mistakes)


def _said(mistake: Mistake) -> str:
    """What the model said, after its map, and what the photo is."""
    says, uri = f"Which parts spoke for {mistake.predicted}", mistake.map_uri
    drawn = f'<img class="map" src="{uri}" alt="{escape(says)}" loading="lazy">' if uri else ""
    said = f"{escape(mistake.predicted)} {_share(mistake.probability)}"
    label = f"is {escape(mistake.label)} {_share(mistake.label_probability)}"
    return f'{drawn}<span class="wrong">{said}</span><br>{label}'


def _photos(shown: Iterable[tuple[Path, str, str]]) -> str:
    """Photos with their label and, as HTML, what is said of each."""
    items = [
        f'<li><img src="{thumbnail(photo)}" alt="{escape(label)}" loading="lazy"><p>{said}</p>'
        f'<p class="soft name">{escape(printable(Path(photo.name)))}</p></li>'
        for photo, label, said in shown
    ]
    return f'<ul class="gallery">{"".join(items)}</ul>'


def least_familiar(strangers: Sequence[Stranger]) -> str:
    """The sections of each split's least familiar photos; empty without familiarity."""
    sections = []
    for split in dict.fromkeys(s.split for s in strangers):
        photos = _photos(
            (s.photo, s.label, f"familiarity {s.familiarity:.3f}<br>is {escape(s.label)}")
            for s in strangers
            if s.split == split
        )
        sections.append(f"<h2>Least familiar photos of {escape(split)}</h2>\n{_LOOK_HERE}{photos}")
    return "\n".join(sections)


def thumbnail(photo: Path) -> str:
    """A small JPEG of the photo, upright, as a data URI; RequestError where it is damaged."""
    small = decode(photo.read_bytes(), max_pixels=ANY_PIXELS)
    small.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX))
    buffer = BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return data_uri("image/jpeg", buffer.getvalue())


def data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _share(share: float) -> str:
    return f"{100 * share:.1f} %"
