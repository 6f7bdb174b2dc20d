"""Which file a name of the metadata table means."""

import pytest

from wristmir_ray.ingest.names import match, normal, place, places

UID = "1.2.840.113619.2.1"


@pytest.mark.parametrize(
    ("name", "uri", "meant"),
    [
        ("images/0.png", "/a/images/0.png", True),
        ("images/0.png", "s3://b/images/0.png", True),
        ("./images\\0.png", "/a/images/0.png", True),
        ("0.png", "/a/images/0.png", True),
        ("0", "/a/images/0.png", True),
        ("/a/images/0.png", "/a/images/0.png", True),
        ("images/0.png", "/a/other/0.png", False),
        ("mages/0.png", "/a/images/0.png", False),
        ("images/0", "/a/images/0.png", False),
        ("a.b", "/x/a.b.png", True),
        ("a", "/x/a.b.png", False),
        (UID, f"/x/{UID}", True),
        (UID, f"/x/{UID}.dcm", True),
        (UID, f"dicomweb+http://pacs/studies/1/series/2/instances/{UID}", True),
        (UID, f"/x/{UID}.7", False),
        (UID, f"dicomweb+http://pacs/studies/1/series/2/instances/{UID}.7", False),
        (".png", "/x/.png", True),
    ],
)
def test_a_name_means_the_end_of_a_path_or_a_stem(name: str, uri: str, meant: bool) -> None:
    found = match([uri], {normal(name): 5}).to_pylist()
    assert found == ([5] if meant else [None])
    if meant:
        assert place(uri) in places(normal(name))


def test_the_longest_end_wins() -> None:
    rows = {"0": 1, "0.png": 2, "images/0.png": 3}
    assert match(["/a/images/0.png", "/a/0.png", "/a/0.dcm"], rows).to_pylist() == [3, 2, 1]


def test_no_name_means_nothing() -> None:
    assert normal(None) == normal("  ") == normal("/") == ""
