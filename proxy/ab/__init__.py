"""The A/B harness: servers side by side on the same conversations, judged by what a client gets."""

#: the variable of the environment that holds the key for servers that want one
API_KEY = "AB_API_KEY"
