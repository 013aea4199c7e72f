"""Downloads torrents with libtorrent over TCP; reads a libtorrentJob as JSON."""

import json
import sys
import time

import libtorrent as lt

job = json.load(sys.stdin)
settings = {
    "listen_interfaces": job.get("listen", "127.0.0.1:0"),
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "enable_outgoing_utp": False,
    "enable_incoming_utp": False,
    "allow_multiple_connections_per_ip": True,
    "alert_mask": lt.alert.category_t.error_notification
    | lt.alert.category_t.tracker_notification
    | lt.alert.category_t.peer_notification,
}
if job.get("encryption") == "required":
    settings["out_enc_policy"] = settings["in_enc_policy"] = 0  # pe_forced
    settings["allowed_enc_level"] = 2  # pe_rc4: not only the header
elif job.get("encryption") == "refused":
    settings["out_enc_policy"] = settings["in_enc_policy"] = 2  # pe_disabled
session = lt.session(settings)

handles = []
for torrent in job["torrents"]:
    if torrent.startswith("magnet:"):
        params = lt.parse_magnet_uri(torrent)
    else:
        params = lt.add_torrent_params()
        params.ti = lt.torrent_info(torrent)
        # Fields of params come beside what the torrent says.
        params.trackers, params.url_seeds = [], []
    params.save_path = job["out"]
    handle = session.add_torrent(params)
    if job.get("no_webseeds"):
        for url in handle.url_seeds():
            handle.remove_url_seed(url)
    if job.get("no_trackers"):
        handle.replace_trackers([])
    if job.get("trackers"):
        handle.replace_trackers([lt.announce_entry(url) for url in job["trackers"]])
    handles.append(handle)

notes = []
deadline = time.monotonic() + 110
while not all(h.status().is_seeding for h in handles):
    for alert in session.pop_alerts():
        notes.append(f"{type(alert).__name__}: {alert.message()}")
    if time.monotonic() > deadline:
        print("\n".join(notes[-50:]))
        for h in handles:
            s = h.status()
            print(f"{s.name}: {s.state}, {s.total_done} of {s.total_wanted} bytes, {s.num_peers} peers")
        sys.exit("not finished in time")
    session.wait_for_alert(50)
    time.sleep(0.02)

# The session's end waits until all is on disk.
del handles, session
