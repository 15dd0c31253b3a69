"""What the demo and the tests need of any cluster: credentials and the real kubectl."""

import base64
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from devcluster import kubeconfig, tools
from devcluster.errors import DevError
from devcluster.kubeconfig import ADMIN, User


@dataclass
class Cluster:
    """A cluster somebody runs; `Cluster.current` is the one of the user's kubeconfig.

    `users` are the known bearer tokens by user name. Everything that is written goes into `state_dir`.
    """

    state_dir: Path
    bin_dir: Path
    url: str
    ca_file: Path
    users: Mapping[str, User] = field(repr=False)

    @classmethod
    def current(cls, state_dir: Path, source: Path | None = None) -> "Cluster":
        """Take over the current context of the kubeconfig `source`, or of the user's own when None."""
        state_dir = state_dir.absolute()
        state_dir.mkdir(parents=True, exist_ok=True)
        bin_dir = tools.ensure("kubernetes")
        command = [str(bin_dir / "kubectl"), "config", "view", "--raw", "--flatten", "--minify", "--output=json"]
        command += [f"--kubeconfig={source}"] if source else []
        shown = subprocess.run(command, capture_output=True, text=True, check=False)
        if shown.returncode != 0:
            raise DevError(f"The current kubeconfig cannot be used: {shown.stderr.strip()}")
        kubeconfig.write_private(state_dir / "kubeconfig", shown.stdout)
        config = json.loads(shown.stdout)
        entry, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        ca_file = state_dir / "ca.crt"
        ca_file.write_bytes(base64.b64decode(entry.get("certificate-authority-data", "")))
        users = {ADMIN: User(ADMIN, user["token"], ())} if "token" in user else {}
        return cls(state_dir, bin_dir, entry["server"], ca_file, users)

    @property
    def kubeconfig(self) -> Path:
        """Kubeconfig of the administrator."""
        return self.state_dir / "kubeconfig"

    @property
    def admin_token(self) -> str:
        """Bearer token of the administrator; DevError when the cluster's kubeconfig uses something else."""
        if ADMIN not in self.users:
            raise DevError("This kubeconfig has no bearer token; use --cluster=local.")
        return self.users[ADMIN].token

    def kubectl(
        self,
        *args: str,
        input: str | None = None,  # noqa: A002 - the name subprocess gives it
        check: bool = True,
        kubeconfig: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run the real kubectl, as the administrator unless a `kubeconfig` is given.

        Its caches and preferences stay out of the user's home.
        With `check`, a failure raises DevError with what kubectl said.
        """
        environment = {
            **os.environ,
            "KUBECONFIG": str(kubeconfig or self.kubeconfig),
            "KUBECACHEDIR": str(self.state_dir / "kubectl-cache"),
            "KUBECTL_KUBERC": "false",
        }
        command = [str(self.bin_dir / "kubectl"), *args]
        done = subprocess.run(command, input=input, env=environment, capture_output=True, text=True, check=False)
        if check and done.returncode != 0:
            raise DevError(f"kubectl {' '.join(args)} failed: {done.stderr.strip() or done.stdout.strip()}")
        return done

    def kubeconfig_for(self, user: str) -> Path:
        """Kubeconfig of a known user, or of `system:serviceaccount:NAMESPACE:NAME` with a fresh token of an hour."""
        if user in self.users:
            token = self.users[user].token
        elif user.startswith("system:serviceaccount:"):
            _, _, namespace, name = user.split(":")
            token = self.kubectl("create", "token", name, "--namespace", namespace, "--duration=1h").stdout.strip()
        else:
            raise DevError(
                f"No user {user}; known are {', '.join(self.users)} and system:serviceaccount:NAMESPACE:NAME."
            )
        path = self.state_dir / f"kubeconfig-{user.replace(':', '-')}"
        return kubeconfig.write_kubeconfig(path, url=self.url, ca_file=self.ca_file, token=token, user=user)

    def apply_crds(self, folder: Path) -> None:
        """Apply all manifests of a folder and wait until the API serves their kinds."""
        if not any(folder.glob("*.yaml")):
            return
        self.kubectl("apply", "--server-side", "--filename", str(folder))
        self.kubectl("wait", "--for=condition=Established", "--timeout=120s", "--filename", str(folder))

    def version(self) -> str:
        """The server's version, such as v1.36.3."""
        return str(json.loads(self.kubectl("version", "--output=json").stdout)["serverVersion"]["gitVersion"])
