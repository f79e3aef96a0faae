"""A real nginx on the stage, with a configuration of its own under /etc/nginx that nobody else sees."""

from __future__ import annotations

import ctypes
import subprocess
import time
from pathlib import Path
from typing import Final

from sample_captures.stage import Stage

_CLONE_NEWNS: Final = 0x0002_0000
_CONFIGURATION: Final = """
worker_processes 2;
pid /etc/nginx/nginx.pid;
error_log /etc/nginx/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path /etc/nginx/body;
    proxy_temp_path /etc/nginx/proxy;
    fastcgi_temp_path /etc/nginx/fastcgi;
    uwsgi_temp_path /etc/nginx/uwsgi;
    scgi_temp_path /etc/nginx/scgi;
    server {{ listen 80; {site} }}
}}
"""


def start_nginx(stage: Stage, site: str) -> subprocess.Popen[str]:
    """Start nginx on port 80 with this `server` block; returns once it listens.

    From here on the calling process sees an /etc/nginx of its own.
    """
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNS)")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/etc/nginx"], check=True)
    Path("/etc/nginx/nginx.conf").write_text(_CONFIGURATION.format(site=site))
    Path("/etc/nginx/index.html").write_text("<h1>It works</h1>\n" * 100)
    # In the foreground it ends with the stage.
    nginx = stage.popen(["nginx", "-g", "daemon off;"], stderr=subprocess.DEVNULL)
    while ":80 " not in stage.host.run("ss", "-ltn").stdout:
        if nginx.poll() is not None:
            raise RuntimeError("nginx did not start")
        time.sleep(0.05)
    return nginx
