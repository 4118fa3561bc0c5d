"""The client at home in web frameworks; each module needs its framework, and the extra of that name brings it."""
