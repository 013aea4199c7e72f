"""A libtorrent peer that learns of others from one tracker only.

peer.py ADDRESS TRACKER TORRENT FOLDER

Makes TORRENT from FOLDER/content first if it does not exist yet. Ends when
its standard input does; says "complete" once it has everything.
"""
import os
import select
import sys

import libtorrent as lt

address, tracker, torrent, folder = sys.argv[1:]
if not os.path.exists(torrent):
    files = lt.file_storage()
    lt.add_files(files, os.path.join(folder, "content"))
    made = lt.create_torrent(files, 16384, lt.create_torrent.v1_only)
    made.add_tracker(tracker)
    lt.set_piece_hashes(made, folder)
    with open(torrent + ".new", "wb") as f:
        f.write(lt.bencode(made.generate()))
    os.rename(torrent + ".new", torrent)

session = lt.session({
    "listen_interfaces": address + ":0",
    "outgoing_interfaces": address,
    "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
    "alert_mask": lt.alert.category_t.tracker_notification | lt.alert.category_t.error_notification,
})
handle = session.add_torrent({"ti": lt.torrent_info(torrent), "save_path": folder})
said = False
while not select.select([sys.stdin], [], [], 0.1)[0]:
    for alert in session.pop_alerts():
        print(alert, file=sys.stderr)
    if not said and handle.status().is_seeding:
        print("complete", flush=True)
        said = True
