package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/jovalle/usher/controllers/enroll"
	"github.com/jovalle/usher/controllers/kubeconfig"
)

// completeTimeout bounds the requests for a completion: the person waits at the prompt.
const completeTimeout = 2 * time.Second

// complete completes the values of a command's flags: by the given functions, else by files
// or directories if the flag has one as its value, and by nothing otherwise.
func complete(cmd *cobra.Command, known map[string]cobra.CompletionFunc) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		function, given := known[f.Name]
		value, _ := pflag.UnquoteUsage(f)
		_, registered := cmd.GetFlagCompletionFunc(f.Name)
		switch {
		case registered || f.Value.Type() == "bool" || !given && value == "FILE":
			return
		case !given && value == "DIR":
			function = directories
		case !given:
			function = cobra.NoFileCompletions
		}
		_ = cmd.RegisterFlagCompletionFunc(f.Name, function) // the flag exists
	})
}

func oneOfThese(values ...string) cobra.CompletionFunc {
	return cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)
}

func directories(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}

// contexts completes the contexts of a kubeconfig. Without a kubeconfig it is silent.
func contexts(source func() kubeconfig.Source) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		found, _ := source().Contexts()
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}

// members completes the name of a member, as the first argument.
func (o *clusterOptions) members(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return o.soon(cmd, args, func(ctx context.Context, edge *enroll.Cluster) []cobra.Completion {
		var names []cobra.Completion
		if list, err := enroll.List(ctx, edge); err == nil {
			for i := range list.Items {
				names = append(names, list.Items[i].GetName())
			}
		}
		return names
	})
}

// soon completes the first argument by what the edge cluster answers. If it does not answer
// soon it is silent.
func (o *clusterOptions) soon(cmd *cobra.Command, args []string, ask func(context.Context, *enroll.Cluster) []cobra.Completion) ([]cobra.Completion, cobra.ShellCompDirective) {
	quiet()
	edge, err := enroll.Connect(o.edgeSource())
	if len(args) > 0 || err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completeTimeout)
	defer cancel()
	found := make(chan []cobra.Completion, 1)
	go func() { found <- ask(ctx, edge) }() // the discovery of resources heeds no context
	select {
	case names := <-found:
		return names, cobra.ShellCompDirectiveNoFileComp
	case <-ctx.Done():
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}
