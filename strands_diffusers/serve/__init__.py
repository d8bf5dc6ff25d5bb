"""What is served to other programs: policies and worlds, over websockets. The base, `app`, serves the browser too."""
