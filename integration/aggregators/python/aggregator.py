"""The same aggregate by hand with Flask and requests, for `cargo aggregates`.

The environment variable PARTS is "NAME=URL NAME=URL ...": GET /page is answered with an object that has a member for each NAME, the JSON that
its URL answers with. Served by gunicorn: `gunicorn aggregator:app`.
"""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import flask
import requests
from requests.adapters import HTTPAdapter

PARTS = dict(part.split("=", 1) for part in os.environ["PARTS"].split())

app = flask.Flask(__name__)
# Members stay in the order in which they came, which also costs less.
app.json.sort_keys = False
threads = ThreadPoolExecutor(max_workers=int(os.environ.get("THREADS", "64")))
own = threading.local()


def fetch(url):
    # A session is not made for several threads at once. Its pool keeps a connection to each service.
    if not hasattr(own, "session"):
        own.session = requests.Session()
        # Proxies and .netrc of the environment would be looked up for each request.
        own.session.trust_env = False
        own.session.mount("http://", HTTPAdapter(pool_connections=len(PARTS), pool_maxsize=1))
    answer = own.session.get(url, timeout=5)
    answer.raise_for_status()
    return answer.json()


@app.get("/page")
def page():
    asked = {name: threads.submit(fetch, url) for name, url in PARTS.items()}
    try:
        return {name: answer.result() for name, answer in asked.items()}
    except requests.RequestException as error:
        return {"error": str(error)}, 502
