package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"smtprelay/config"
)

func configCommand(w world) *cobra.Command {
	check := &cobra.Command{
		Use:   "check",
		Short: "load the configuration and every file it names",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if _, err := config.Load(configPath(c)); err != nil {
				return err
			}
			_, err := fmt.Fprintf(w.stdout, "%s is in order\n", configPath(c))
			return err
		},
	}
	show := &cobra.Command{
		Use:   "show",
		Short: "print what the configuration means, defaults filled in, without secrets",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			f, err := config.Read(configPath(c))
			if err != nil {
				return err
			}
			return f.Show(w.stdout)
		},
	}
	return group("config", "check and show the configuration", "", check, show)
}
