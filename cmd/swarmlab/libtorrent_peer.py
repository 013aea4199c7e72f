"""Downloads or seeds a torrent with libtorrent; reads its job from a JSON file.

A leecher creates job["ready"], begins when it can read a line, creates
job["done"] when the content is complete, and seeds until its input ends.
"""

import json
import sys

import libtorrent as lt

with open(sys.argv[1]) as f:
    job = json.load(f)
settings = {
    "listen_interfaces": job["listen"],
    # There is no outside.
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "alert_mask": lt.alert.category_t.status_notification | lt.alert.category_t.error_notification,
}
settings.update(job.get("settings", {}))
session = lt.session(settings)
params = lt.add_torrent_params()
params.ti = lt.torrent_info(job["torrent"])
params.save_path = job["out"]
for flag in job.get("flags", []):
    params.flags |= getattr(lt.torrent_flags, flag)


def create(path):
    with open(path, "w"):
        pass


if "done" not in job:
    handle = session.add_torrent(params)
    sys.stdin.read()
    sys.exit()

create(job["ready"])
sys.stdin.readline()
handle = session.add_torrent(params)
finished = False
while not finished:
    session.wait_for_alert(1000)
    for alert in session.pop_alerts():
        if alert.category() & lt.alert.category_t.error_notification:
            print(f"{type(alert).__name__}: {alert.message()}", flush=True)
        finished = finished or isinstance(alert, lt.torrent_finished_alert)
create(job["done"])
sys.stdin.read()
