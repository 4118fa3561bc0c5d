"""What several test modules need, each thing once. No test module imports another.

============================  =============================================================================
module                        what is in it
============================  =============================================================================
``raw_server``                a server that does what its script says, byte by byte; frames; ``until``
``scripts``                   such scripts: an echo, peers that do not answer, or do not read
``proxies``                   such scripts: HTTP and SOCKS proxies
``fault_proxy``               a proxy that cuts, stalls and delays a connection after so many bytes
``engines``                   real engines of the relay, Redis or Valkey, and what can happen to them
``relaying``                  relays in the process of a test, and what is in their streams
``tls_front``, ``openssl``    a front that does TLS, shakes hands anew, and sends interim responses
``scenes``                    clients that leave nothing behind, a record of their events, code on threads
``messages``                  events as the server writes them
``leaks``                     what a process uses, and that nothing of it is left
``processes``                 scripts in processes of their own, in step with the test
``terminal``                  a pseudo-terminal
``pages``                     pages of documentation whose code is run
``explorer``                  schedules of the life cycle, seeded and played by one thread
``web_server``, ``gallery``,  the frameworks in processes of their own, the example's gallery, and a gunicorn
``preloaded``                 that has loaded the application before it forked
``relays``                    a relay's part in the engine, played by a test
``real_servers``              servers of other authors, run as programs
============================  =============================================================================

Wait for conditions: ``until``, ``Record.wait``, ``Worker.result``, ``Script.expect``. Their limits are generous, since
a machine may be busy; a test sleeps only where the lapse of time is what it tests.
"""
