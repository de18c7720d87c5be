import pytest

pytest.register_assert_rewrite("palaver.testing.log_contract", "palaver.testing.storage_contract")
