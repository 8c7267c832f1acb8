"""Has a file mirrored by urllib and by http.client, in the ways that they know."""

import http.client
import sys
import urllib.error
import urllib.parse
import urllib.request

url, path = sys.argv[1:]
with open(path, "rb") as f:
    content = f.read()


def check(what, got, want=content):
    if got != want:
        sys.exit(f"{what}: {len(got)} bytes came back of {len(want)}")


with urllib.request.urlopen(url + "/big") as res:
    check("urllib GET", res.read())
with urllib.request.urlopen(urllib.request.Request(url, data=content)) as res:
    check("urllib POST", res.read())
with urllib.request.urlopen(urllib.request.Request(url, method="HEAD")) as res:
    check("urllib HEAD", res.read(), b"")

conn = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc)
for _ in range(20):  # on one connection
    conn.request("GET", "/big")
    check("GET", conn.getresponse().read())
    conn.request("PUT", "/", body=content, headers={"Expect": "100-continue"})
    check("PUT", conn.getresponse().read())
    pieces = [content[i : i + 10000] for i in range(0, len(content), 10000)]
    conn.request("POST", "/", body=iter(pieces), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
    check("POST in chunks", conn.getresponse().read())
    conn.request("DELETE", "/")
    check("DELETE", conn.getresponse().read(), b"")
conn.close()
print("well")
