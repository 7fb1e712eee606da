"""Steps that change little are not computed: what the blocks added last is added again."""
