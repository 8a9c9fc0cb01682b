# Everything here is a step of .ci/run, or one go command.
.DEFAULT_GOAL := help
.PHONY: help build test race lint fmt bench demo dev ci

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "%-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Compile everything
	.ci/run build

test: ## Run all tests
	.ci/run test

race: ## Run all tests with the race detector
	.ci/run race

lint: ## Check formatting, go.mod, go vet and staticcheck
	.ci/run fmt tidy vet lint

fmt: ## Format all files
	.ci/run reformat

bench: ## Run the benchmarks of single packages
	go test -run '^$$' -bench . -benchmem ./...

demo: ## Watch a cluster of three nodes lose two of them
	go run ./examples/koalemosd -demo

dev: ## Run a node with its own etcd, to try things out
	go run ./examples/koalemosd -dev

ci: ## Run all that must hold before a change goes in
	.ci/run
