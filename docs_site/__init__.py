"""The site of docs/, beside what MkDocs does: links as GitHub has them, and a look at the result."""
