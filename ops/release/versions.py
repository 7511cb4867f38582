"""The published versions of a function and the images that they run.

Versions are kept after a release, so that there is one to go back to, and cost nothing but their
images and, with SnapStart, their snapshots.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

ALIAS = "live"
KEPT = 3
# Of SAM's own repository for the function; another may hold what others deploy.
_OF_SAM = ("/classifierfunction", "repo")


@dataclass(frozen=True, slots=True)
class Traffic:
    """Where the alias sends requests: to `version`, and during a release a part of them to `other`.

    `revision` is Lambda's name for this state, which an update must still find.
    """

    version: int
    other: int | None
    revision: str


def traffic(functions: Any, function: str) -> Traffic:
    """What the alias points to."""
    alias = functions.get_alias(FunctionName=function, Name=ALIAS)
    weights = alias.get("RoutingConfig", {}).get("AdditionalVersionWeights", {})
    other = int(next(iter(weights))) if weights else None
    return Traffic(int(alias["FunctionVersion"]), other, alias.get("RevisionId", ""))


def published(functions: Any, function: str) -> list[int]:
    """The numbers of a function's versions, newest first."""
    pages = functions.get_paginator("list_versions_by_function").paginate(FunctionName=function)
    names = [version["Version"] for page in pages for version in page["Versions"]]
    return sorted((int(name) for name in names if name != "$LATEST"), reverse=True)


def prune(functions: Any, registry: Any, function: str, keep: int = KEPT) -> Iterator[str]:
    """Delete all but the newest versions, and the images that only those ran; a line for each.

    What the alias points to stays, whatever its age.
    """
    now, there = traffic(functions, function), published(functions, function)
    kept = {*there[:keep], now.version, now.other}
    old = [version for version in there if version not in kept]
    if not old:
        return
    images = {version: _image(functions, function, str(version)) for version in there}
    in_use = {images[version] for version in there if version in kept}
    in_use.add(_image(functions, function, "$LATEST"))
    for version in old:
        functions.delete_function(FunctionName=function, Qualifier=str(version))
        yield f"Deleted version {version}."
    for image in sorted({images[version] for version in old} - in_use):
        if _delete(registry, image):
            yield f"Deleted the image {image}."


def _image(functions: Any, function: str, version: str) -> str:
    """The image that a version runs, REGISTRY/REPOSITORY@sha256:…"""
    code = functions.get_function(FunctionName=function, Qualifier=version)["Code"]
    return str(code.get("ResolvedImageUri", ""))


def _delete(registry: Any, image: str) -> bool:
    """Delete an image from SAM's repository; False where it lies in another."""
    host, _, rest = image.partition("/")
    repository, _, digest = rest.partition("@")
    if not (_OF_SAM[0] in f"/{repository}" and repository.endswith(_OF_SAM[1]) and digest):
        return False
    registry.batch_delete_image(
        registryId=host.partition(".")[0],
        repositoryName=repository,
        imageIds=[{"imageDigest": digest}],
    )
    return True
