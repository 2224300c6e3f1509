"""A search in a tiny Market-1501, with some of its queries kept for pages."""

from images import write_image
from retrieval_models import write_model
from retrieval_trees import write_market

from covtool.evaluation.retrieve import RetrievalRequest, retrieve


def searched_market(folder):
    """Search with a random network; one identity has no match, others have several."""
    root = folder / "market"
    root.mkdir()
    write_market(root)
    for person in range(4, 7):
        write_image(root / "query" / f"000{person}_c1s1_000001_00.jpg", seed=person)
        for camera in (2, 3):
            name = f"000{person}_c{camera}s1_000002_00.jpg"
            write_image(root / "bounding_box_test" / name, seed=10 * person + camera)
    usual = {"source": str(write_model(folder)), "workers": 0, "device": "cpu", "batch_size": 4}
    return retrieve(RetrievalRequest(data=root, keep=10, by_camera=True, **usual))
