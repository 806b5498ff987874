"""The console: web pages over a `TraceReader`, made on the server, without a build step and without anything from elsewhere.

app.py         routes, access, headers          server.py    the port
pages.py       what each page says              templates/   how it looks, with static/
asked.py       parameters → values              format.py    values → what people read
road.py        the receiver's numbers           watch.py     asks for them
waterfall.py, details.py, map.py, chart.py, snippets.py      what is drawn
"""
