// Command argocd_server runs Argo CD's API server, from its own Go module.
package main

import (
	"os"

	server "github.com/argoproj/argo-cd/v3/cmd/argocd-server/commands"
)

func main() {
	if err := server.NewCommand().Execute(); err != nil {
		os.Exit(1)
	}
}
