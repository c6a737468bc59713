"""Make images/monitor-*.png and images/report.png: the pages of a simulated session with two bad stacks.

``python docs/pages.py FOLDER`` takes some minutes, and needs chromium. FOLDER (new) is named on the pages.
"""

from __future__ import annotations

import platform
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from mrcz_dask.correction.plan import make_plan
from mrcz_dask.correction.run import carry_out
from mrcz_dask.engine.clusters import ClientOptions, open_client
from mrcz_dask.monitor.serving import PageParams, watched
from mrcz_dask.numerics.simulate import SimulationParams
from mrcz_dask.report.files import write_page
from mrcz_dask.session.simulation import write_session
from mrcz_dask.values import messages
from mrcz_dask.values.params import KomaParams, Settings
from tests.monitor.browser import Tab, browser, opened

MOST = 1720  # pixels in height; the upper part of longer pages is shown
IMAGES = Path(__file__).parent / "images"
SESSION = SimulationParams(
    stacks=60, frames=16, shape=(384, 360), dose=2.0, seed=5, hot=(0.002, 0.009), dead=5e-5, carbon=(40,)
)


def picture(tab: Tab, name: str, width: int, height: int = 1400, *, phone: bool = False) -> None:
    """Take a picture of the page as it is shown in a window of this size."""
    tab.size(width, height, phone=phone)
    time.sleep(3)
    tab.picture(IMAGES / name)
    image = Image.open(IMAGES / name).convert("RGB")
    if phone:
        image = image.resize((width * 4 // 3, image.height * 2 // 3), Image.Resampling.LANCZOS)
    image = image.crop((0, 0, image.width, min(image.height, MOST)))
    image.quantize(256).save(IMAGES / name, optimize=True)


def main(night: Path) -> None:
    """Process a session, and take pictures of its page in the middle and at the end, and of its report."""
    platform.platform = lambda: "Linux"  # type: ignore[assignment]  # the report names no machine
    paths = write_session(night, SESSION)
    whole = paths[10].read_bytes()
    paths[10].write_bytes(whole[: len(whole) // 2] + bytes(64) + whole[len(whole) // 2 + 64 :])
    paths[25].write_bytes(paths[25].read_bytes()[:100_000])
    plan = make_plan(night, None, Settings(koma=KomaParams(radius=6)))
    heard: list[messages.Message] = []
    where = ClientOptions(workers=2)
    with (
        open_client(where, plan.memory_estimate(), heard.append) as client,
        watched(client, PageParams(), heard.append) as listen,
        tempfile.TemporaryDirectory() as profile,
        opened(str(browser()), Path(profile)) as tab,
    ):
        tab.size(1265, 1400)
        tab.open(next(one.address for one in heard if isinstance(one, messages.PageReady)))
        corrected = 0

        def halfway(message: messages.Message) -> None:
            """Hand on a message, and take a picture after half of the corrections."""
            nonlocal corrected
            listen(message)
            corrected += isinstance(message, messages.StackDone) and message.phase == messages.CORRECTION
            if corrected == len(plan.stacks) // 2:
                corrected += 1  # once
                picture(tab, "monitor-running.png", 1265)

        outcome = carry_out(plan, client, halfway)
        tab.until(lambda facts: facts.get("headline") == "finished")
        picture(tab, "monitor-finished.png", 1265)
        picture(tab, "monitor-phone.png", 390, 844, phone=True)
    with tempfile.TemporaryDirectory() as profile, opened(str(browser()), Path(profile)) as tab:
        tab.size(800, MOST)
        tab.open(write_page(outcome.plan.folder).as_uri())
        picture(tab, "report.png", 800, MOST)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
