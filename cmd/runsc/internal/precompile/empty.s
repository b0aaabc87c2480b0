// An assembly file lets Go functions of the package be without a body (rules).
