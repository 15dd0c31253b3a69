"""`kubectl prompt`, on the same models and decisions as the operator.

`main` holds the verbs together. What all of them use stands beside it: `options`, `session` (the way to the cluster),
`reading` and `patching` (objects), `printing`, `errors` (exit statuses). The verbs:

- `view/`: get, history, diff
- `explain/`, `doctor/`: how a prompt, or everything, is, why, and what to do
- `rollbacks/`: rollback, release, retry, ack
- `operate/`: suspend, resume, fallback, enable, review
- `versions/`: rehash, prune
- `backup/`: backup, restore
- `audit/`: audit verify, audit replay
- `lint/`, `testrules/`: files, without a cluster, which `manifests/` reads

A small verb is a module of its name; in the package of a large one it is `command`.
"""
